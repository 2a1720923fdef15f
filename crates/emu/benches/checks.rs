//! What the checks cost: warp instructions a second of three loops without checks, with all but races, and with races.
//!
//! Method: a machine for each loop and each setting; their runs take turns, and time is that on a processor, so that what
//! else the computer does matters little. Printed are the medians of the rates, the quartiles, and the medians of the ratios within a round.
//! `cargo bench -p warpferry-emu --bench checks [-- ROUNDS SETTING]`; without a setting (`off`, `all`, `races`) all.
#![allow(missing_docs)] // a program

use std::sync::LazyLock;
use std::time::{Duration, Instant};
use warpferry_emu::{Checks, Launch, Machine, MachineConfig, RunOutcome, StreamId};

/// Rounds unless told otherwise.
const ROUNDS: usize = 15;
/// Least warp instructions of a round: the system counts time in steps of some milliseconds.
const INSTRUCTIONS: u64 = 2_000_000;
/// CTAs and threads of each launch.
const SHAPE: (u32, u32) = (4, 256);
/// Bytes of each of the two buffers.
const BYTES: u64 = 1 << 16;

const HEAD: &str = "
.version 8.2
.target sm_90
.address_size 64
.extern .shared .align 128 .b8 smem[];
.visible .entry k(.param .u64 arg_from, .param .u64 arg_to)
{
    .reg .u64   from, to, state;
    .reg .u32   thread, index, turn, sum, place, other, room;
    .reg .b32   word<4>;
    .reg .pred  more, first, done;
    ld.param.u64            from, [arg_from];
    ld.param.u64            to, [arg_to];
    mov.u32                 thread, %tid.x;
    mov.u32                 index, %ctaid.x;
    mad.lo.u32              index, index, 256, thread;
    mad.wide.u32            from, index, 16, from;
    mad.wide.u32            to, index, 16, to;
    setp.eq.u32             first, thread, 0;
    mov.u32                 sum, thread;
    mov.u32                 turn, 0;
";

/// Rows of 16 bytes a thread, from one buffer into another.
const ROWS: &str = "
again:
    ld.global.v4.b32        {word0, word1, word2, word3}, [from];
    add.u32                 sum, sum, word0;
    xor.b32                 sum, sum, word1;
    shf.l.wrap.b32          sum, sum, sum, 7;
    mad.lo.u32              sum, sum, 5, word2;
    add.u32                 word3, word3, sum;
    st.global.v4.b32        [to], {word0, word1, word2, word3};
    add.u32                 turn, turn, 1;
    setp.lt.u32             more, turn, 200;
    @more bra               again;
    ret;
}";

/// Words in shared memory that go round behind barriers, and an atomic for each turn.
const WORDS: &str = "
    mov.u32                 room, smem;
    mad.lo.u32              place, thread, 4, room;
    xor.b32                 other, thread, 33;
    mad.lo.u32              other, other, 4, room;
again:
    st.shared.u32           [place], sum;
    bar.sync                0;
    ld.shared.u32           word0, [other];
    mad.lo.u32              sum, sum, 5, word0;
    @first atom.acq_rel.gpu.global.add.u32 word1, [to], 1;
    bar.sync                0;
    add.u32                 turn, turn, 1;
    setp.lt.u32             more, turn, 60;
    @more bra               again;
    ret;
}";

/// Bulk copies in and out of a stage in shared memory, with mbarrier, groups and fences.
const COPIES: &str = "
    mov.u32                 room, smem;
    mad.lo.u32              place, thread, 4, room;
    @first mbarrier.init.shared::cta.b64 [smem + 4096], 1;
    @first fence.mbarrier_init.release.cluster;
    bar.sync                0;
again:
    @!first bra             wait;
    mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 state, [smem + 4096], 1024;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [smem], [from], 1024, [smem + 4096];
wait:
    and.b32                 word0, turn, 1;
    mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [smem + 4096], word0;
    @!done bra              wait;
    ld.shared.u32           word0, [place];
    add.u32                 word0, word0, 1;
    st.shared.u32           [place], word0;
    fence.proxy.async.shared::cta;
    bar.sync                0;
    @!first bra             next;
    cp.async.bulk.global.shared::cta.bulk_group [to], [smem], 1024;
    cp.async.bulk.commit_group;
    cp.async.bulk.wait_group 0;
next:
    bar.sync                0;
    add.u32                 turn, turn, 1;
    setp.lt.u32             more, turn, 40;
    @more bra               again;
    ret;
}";

/// A machine of one GPU, and what launches a loop on it.
fn machine(body: &str, checks: Checks) -> (Machine, Launch) {
    let mut config = MachineConfig::new(1, 1);
    config.checks = checks;
    let mut machine = Machine::new(config).expect("the defaults are valid");
    let buffers = [0; 2].map(|_| {
        let address = machine.alloc(0, BYTES).expect("little memory");
        machine.fill(address, 0, BYTES).expect("own memory");
        address
    });
    let module = machine.load_module("loop", &format!("{HEAD}{body}")).unwrap_or_else(|error| panic!("{error}"));
    let launch = Launch {
        gpu: 0,
        stream: StreamId::DEFAULT,
        module,
        entry: "k".to_string(),
        grid: [SHAPE.0, 1, 1],
        block: [SHAPE.1, 1, 1],
        shared_bytes: 8192,
        args: buffers.iter().flat_map(|address| address.to_le_bytes()).collect(),
        access: Vec::new(),
    };
    (machine, launch)
}

/// Time that this thread has been on a processor, where Linux tells it: others on the computer do not count then.
fn busy() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match text.split(' ').next().map(str::parse) {
        Some(Ok(ns)) => Duration::from_nanos(ns),
        _ => START.elapsed(),
    }
}

/// Warp instructions a second.
fn rate((machine, launch): &mut (Machine, Launch)) -> f64 {
    let before = machine.statistics().warp_instructions();
    let start = busy();
    while machine.statistics().warp_instructions() - before < INSTRUCTIONS {
        machine.launch(launch.clone()).expect("the launch is valid");
        match machine.run_until_idle() {
            Ok(RunOutcome::Idle) => {}
            other => panic!("the loop ended as {other:?}"),
        }
    }
    (machine.statistics().warp_instructions() - before) as f64 / (busy() - start).as_secs_f64()
}

/// The value below which a share of the sorted values lies.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

fn main() {
    let rounds = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(ROUNDS);
    let only = |name: &str| {
        let mut words =
            std::env::args().skip(1).filter(|word| word.parse::<usize>().is_err() && !word.starts_with('-'));
        words.next().is_none_or(|word| name.split(' ').next_back() == Some(word.as_str()))
    };
    let settings = [("off", Checks::NONE), ("all", Checks::ALL), ("and races", Checks::RACES)];
    println!("loop    checks         Minst/s (quartiles)     times slower than the first");
    for (name, body) in [("rows", ROWS), ("words", WORDS), ("copies", COPIES)] {
        let settings: Vec<_> = settings.into_iter().filter(|(name, _)| only(name)).collect();
        let mut machines: Vec<_> = settings.iter().map(|(_, checks)| machine(body, *checks)).collect();
        for machine in &mut machines {
            rate(machine);
        }
        let mut rates = vec![Vec::new(); settings.len()];
        let mut slower = rates.clone();
        for _ in 0..rounds {
            let round: Vec<f64> = machines.iter_mut().map(rate).collect();
            for (at, &value) in round.iter().enumerate() {
                rates[at].push(value / 1e6);
                slower[at].push(round[0] / value);
            }
        }
        for (at, (setting, _)) in settings.iter().enumerate() {
            let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| quantile(&mut rates[at], share));
            let ratio = quantile(&mut slower[at], 0.5);
            println!("{name:7} {setting:13} {middle:7.2} ({low:.2} .. {high:.2})   {ratio:.2}");
        }
    }
}
