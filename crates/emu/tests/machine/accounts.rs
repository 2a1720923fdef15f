//! Accounts tell who copied and who only looked for work.

use crate::{schedules, Bench};
use warpferry_emu::{MachineConfig, RunOutcome};

/// Warp 0 copies 1 KiB to shared memory and then sets the flag that warp 1 polls between sleeps.
const COPIES_AND_LOOKS: &str = "
    mov.u32 r1, s; add.u32 r2, s, 1024; add.u32 r3, s, 1032;
    @leader mbarrier.init.shared::cta.b64 [r2], 1;
    @leader fence.mbarrier_init.release.cluster;
    @leader st.shared.u32 [r3], 0;
    bar.sync 0;
    setp.ge.u32 p, tid, 32;
    @p bra look;
    @!leader bra end;
    mbarrier.arrive.expect_tx.shared::cta.b64 y0, [r2], 1024;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [r1], [x0], 1024, [r2];
wait:
    mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [r2], 0;
    @!p bra wait;
    st.release.cta.shared.u32 [r3], 1;
    bra end;
look:
    ld.acquire.cta.shared.u32 r4, [r3];
    setp.ne.u32 p, r4, 0;
    @p bra end;
    nanosleep.u32 64;
    bra look;
end:";

#[test]
fn who_copies_is_not_idle_and_who_looks_is() {
    for schedule in schedules(10) {
        let config = MachineConfig { schedule: schedule.clone(), accounts: true, ..MachineConfig::new(1, 1) };
        let mut bench = Bench::new(config, COPIES_AND_LOOKS);
        let outcome = bench.run(3, 64, 0).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(matches!(outcome, RunOutcome::Idle), "{outcome:?}");
        let accounts = bench.machine.take_accounts();
        let [account] = &accounts[..] else { panic!("{accounts:?}") };
        let [copies, looks] = account.warps[..] else { panic!("{account:?}") };
        assert_eq!((account.gpu, account.entry.as_str()), (0, "test"));
        assert!(account.began_ticks < account.ended_ticks);
        assert_eq!(copies.idle_ticks, 0, "{schedule:?}");
        assert_eq!(looks.idle_ticks, looks.resident_ticks, "{schedule:?}");
        assert_eq!(copies.resident_ticks, looks.resident_ticks);
        let instructions = bench.machine.statistics().warp_instructions();
        assert_eq!(copies.instructions + looks.instructions, instructions);
        assert_eq!(bench.machine.take_accounts(), []);
    }
}

#[test]
fn nothing_is_kept_unasked() {
    let mut bench = Bench::new(MachineConfig::new(1, 1), COPIES_AND_LOOKS);
    bench.run(3, 64, 0).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(bench.machine.take_accounts(), []);
}
