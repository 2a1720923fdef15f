//! NICs: doorbells, payload then signal, completions, credit.

use crate::rig::{check, entry, launch, module, schedules, zeroed};
use warpferry_emu::{Checks, Machine, MachineConfig, RunOutcome, Schedule};
use warpferry_nic::wqe::{self, Control, DataSegment, Remote};
use warpferry_nic::{QueueConfig, Rights};

const NO_PATH: &str = "no release/acquire path";

/// Thread 0 posts two entries that the host prepared (a write of 128 bytes, a fetch-and-add on the flag behind it).
/// `arg_data` is the payload, `arg_flag` the table {entries, queue, record, doorbell, completion, scrap}.
fn post(before: &str, ring: &str) -> String {
    format!(
        "
        .reg .u64 entries, queue, record, bell, finished, word;
        ld.global.u64 entries, [flag]; ld.global.u64 queue, [flag + 8]; ld.global.u64 record, [flag + 16];
        ld.global.u64 bell, [flag + 24]; ld.global.u64 finished, [flag + 32];
        mad.lo.u32 at, lane, 4, 0; cvt.u64.u32 wide, at; add.u64 wide, wide, data;
        st.global.u32 [wide], lane;
        setp.lt.u32 there, lane, 16;
        mad.lo.u32 at, lane, 8, 0; cvt.u64.u32 wide, at;
        add.u64 state, wide, entries; @there ld.global.u64 word, [state];
        add.u64 state, wide, queue; @there st.global.u64 [state], word;
        {before}
        @!here bra over;
        {ring}
        ld.global.u64 word, [entries + 64];
        st.mmio.relaxed.sys.global.u64 [bell], word;
    poll:
        ld.acquire.sys.global.u64 word, [finished + 56];
        shr.u64 word, word, 60;
        setp.eq.u64 done, word, 0;
        @!done bra poll;
        // complete: the payload may be written again
        st.global.u32 [data], 9;
    over:"
    )
}

const RING: &str = "st.release.sys.global.u32 [record + 4], 0x02000000; fence.acq_rel.sys;";

/// The peer waits for the flag and reads the payload.
fn take(look: &str) -> String {
    format!(
        "@!here bra over; look: {look} setp.eq.u64 done, wide, 1; @!done bra look;
         ld.global.u32 value, [data + 64]; over:"
    )
}

const LOOK: &str = "ld.acquire.sys.global.u64 wide, [flag];";

fn run(post: &str, take: &str, visibility: bool) -> Vec<Option<String>> {
    let text = module(&[entry("post", post), entry("take", take)]);
    let one = |schedule: Schedule| {
        let mut config = MachineConfig { schedule, ..MachineConfig::new(2, 1) };
        config.checks = Checks { bus_visibility: visibility, uninitialized: false, ..Checks::RACES };
        config.limits.warp_instructions = 1_000_000;
        let mut machine = Machine::new(config).unwrap();
        let id = machine.load_module("program.ptx", &text).unwrap();
        let payload = zeroed(&mut machine, 0, 4096);
        let queue = zeroed(&mut machine, 0, 4096);
        let (record, finished, scrap) = (queue + 2048, queue + 2048 + 64, queue + 2048 + 192);
        machine.fill(finished, 0xff, 64).unwrap();
        let (entries, table) = (zeroed(&mut machine, 0, 4096), zeroed(&mut machine, 0, 4096));
        let window = zeroed(&mut machine, 1, 4096);
        let remote_queue = zeroed(&mut machine, 1, 4096);
        let local = machine.register_memory(0, payload, 4096, Rights::default()).unwrap();
        let result = machine.register_memory(0, queue, 4096, Rights::remote()).unwrap();
        let remote = machine.register_memory(1, window, 4096, Rights::remote()).unwrap();
        let pair = machine.create_queue_pair(0, QueueConfig::collapsed(queue, 16, record, finished)).unwrap();
        let config = QueueConfig::collapsed(remote_queue, 16, remote_queue + 2048, remote_queue + 2112);
        let other = machine.create_queue_pair(1, config).unwrap();
        machine.network_mut().connect(pair.number, other.number).unwrap();
        let bell = machine.map_doorbell(0, 0).unwrap() + pair.doorbell_offset_bytes;
        let segment = DataSegment { bytes: 128, lkey: local.lkey, address: payload };
        let to = |address| Remote { address, rkey: remote.rkey };
        let write = wqe::rdma_write(Control::new(pair.number, 0), to(window), &[segment]);
        let scrap = DataSegment { bytes: 8, lkey: result.lkey, address: scrap };
        let signal = wqe::fetch_add(Control::new(pair.number, 1).signaled(), to(window + 2048), 1, scrap);
        machine.write(entries, &write).unwrap();
        machine.write(entries + 64, &signal).unwrap();
        let words = [entries, queue, record, bell, finished];
        machine.write(table, &words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        launch(&mut machine, id, 1, "take", (1, 32), [window, window + 2048, 0]);
        launch(&mut machine, id, 0, "post", (1, 32), [payload, table, 0]);
        let outcome = machine.run_until_idle();
        if let Ok(RunOutcome::Stalled(_)) = outcome {
            panic!(
                "{:?} {:?} {:?}",
                machine.network().violations(),
                machine.network().failures(),
                machine.network().nic_counters(machine.nic(0).unwrap())
            );
        }
        match outcome {
            Ok(_) => None,
            Err(fault) => Some(fault.to_string()),
        }
    };
    schedules().into_iter().map(one).collect()
}

#[test]
fn payload_and_signal_through_the_nic() {
    let sound = run(&post("bar.warp.sync 0xffffffff;", RING), &take(LOOK), true);
    assert!(sound.iter().all(Option::is_none), "{sound:?}");
    let met = post("bar.warp.sync 0xffffffff;", RING);
    for (from, to, words) in [
        ("ld.acquire.sys", "ld.relaxed.sys", NO_PATH),
        ("ld.acquire.sys", "ld.acquire.gpu", "do not include each other"),
        ("ld.acquire.sys.global.u64", "ld.global.u64", NO_PATH),
    ] {
        check(run(&met, &take(&LOOK.replace(from, to)), true), words, to);
    }
}

#[test]
fn the_doorbell_covers_what_is_released_before_it() {
    let sound = post("bar.warp.sync 0xffffffff;", RING);
    for (from, to) in [
        ("bar.warp.sync 0xffffffff;", ""),
        (
            "st.release.sys.global.u32 [record + 4], 0x02000000; fence.acq_rel.sys;",
            "st.relaxed.sys.global.u32 [record + 4], 0x02000000;",
        ),
        ("fence.acq_rel.sys;", "fence.acq_rel.gpu;"),
    ] {
        // The check of what the bus sees is off: the race check is on its own.
        let races = run(&sound.replace(from, to), &take(LOOK), false);
        let both = races.iter().flatten().any(|race| race.contains("nic") && race.contains("st.global"));
        if from.contains("st.release") || from.starts_with("bar") {
            assert!(both, "`{from}` -> `{to}`: {races:?}");
        }
    }
}

#[test]
fn the_completion_gives_the_payload_back() {
    let sound = post("bar.warp.sync 0xffffffff;", RING);
    let races = run(&sound.replace("@!done bra poll;", ""), &take(LOOK), true);
    check(races, NO_PATH, "no wait for the completion");
    let races = run(
        &sound.replace("ld.acquire.sys.global.u64 word, [finished", "ld.relaxed.sys.global.u64 word, [finished"),
        &take(LOOK),
        true,
    );
    check(races, NO_PATH, "no acquire of the completion");
}
