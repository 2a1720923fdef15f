//! Determinism, replay, and that schedules differ.

use crate::{launch, Bench};
use warpferry_emu::{Machine, MachineConfig, Schedule, Statistics};

/// Warps race for tickets of one counter and note the order.
const RACE: &str = "
    mov.u32 r0, 0;
again:
    setp.eq.u32 p, lane, 0;
    @!p bra skip;
    atom.relaxed.gpu.global.add.u64 y0, [x0], 1;
    mad.lo.u64 y1, y0, 8, x1;
    cvt.u64.u32 y2, tid;
    st.global.u64 [y1], y2;
skip:
    bar.warp.sync -1;
    add.u32 r0, r0, 1;
    setp.lt.u32 p, r0, 20;
    @p bra again;";

fn order(schedule: Schedule) -> (Vec<u8>, Statistics, Vec<u32>) {
    let config = MachineConfig { schedule, record_choices: true, ..MachineConfig::new(1, 1) };
    let mut bench = Bench::new(config, RACE);
    bench.run(2, 128, 0).unwrap_or_else(|f| panic!("{f}"));
    let mut seen = vec![0; 160 * 8];
    bench.machine.read(bench.x1, &mut seen).unwrap();
    let choices = bench.machine.recorded_choices().unwrap().to_vec();
    (seen, bench.machine.statistics().clone(), choices)
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..5 {
        assert_eq!(order(Schedule::Random { seed }), order(Schedule::Random { seed }));
    }
    assert_eq!(order(Schedule::RoundRobin), order(Schedule::RoundRobin));
}

#[test]
fn seeds_differ() {
    let runs: std::collections::BTreeSet<Vec<u8>> = (0..10).map(|seed| order(Schedule::Random { seed }).0).collect();
    assert!(runs.len() > 5, "{} different orders of 10", runs.len());
}

#[test]
fn recorded_choices_replay() {
    for seed in 0..5 {
        let (seen, statistics, choices) = order(Schedule::Random { seed });
        let (again, same, _) = order(Schedule::Replay(choices));
        assert_eq!(seen, again, "seed {seed}");
        assert_eq!(statistics, same, "seed {seed}");
    }
}

/// A grid larger than the machine runs in waves, lowest CTAs first, and a limit of residents is kept.
#[test]
fn waves_of_ctas() {
    let body = "
        @!leader bra end;
        mov.u32 r0, %ctaid.x;
        atom.global.add.u64 y0, [x0], 1;
        mul.wide.u32 y1, r0, 8; add.u64 y1, y1, x1;
        st.global.u64 [y1], y0;
        bar.warp.sync 1;
        end:";
    let mut config = MachineConfig::new(1, 1);
    config.gpu.resident_ctas = Some(1);
    let mut machine = Machine::new(config).unwrap();
    let module = machine.load_module("test.ptx", &crate::kernel(body)).unwrap();
    let (x0, x1) = (machine.alloc(0, 8).unwrap(), machine.alloc(0, 4096).unwrap());
    machine.write(x0, &[0; 8]).unwrap();
    machine.launch(launch(0, module, 300, 64, [x0, x1, 0])).unwrap();
    machine.run_until_idle().unwrap_or_else(|f| panic!("{f}"));
    for cta in 0..300u64 {
        let mut word = [0; 8];
        machine.read(x1 + 8 * cta, &mut word).unwrap();
        assert_eq!(u64::from_le_bytes(word), cta);
    }
    assert_eq!(machine.statistics().gpus[0].ctas, 300);
}
