//! Machines whose parts have times: what acts take, by arithmetic on round numbers.
//!
//! Method: kernels read `%globaltimer` before and after an act and store the difference; times of the machine are chosen so that
//! each part of a sum shows.

use crate::{kernel, launch, Bench};
use warpferry_emu::{
    ConfigError, GpuTiming, LinkTiming, Machine, MachineConfig, MemoryOrder, NicTiming, Schedule, Timing,
};

/// Picoseconds of a nanosecond.
const NS: u64 = 1000;

/// Round numbers; an instruction takes 1 ns.
fn timing() -> Timing {
    Timing {
        gpu: GpuTiming {
            schedulers: 4,
            clock_ps: 500,
            instruction_ps: NS,
            exchange_ps: 0,
            shared_load_ps: 20 * NS,
            shared_atomic_ps: 0,
            l2_load_ps: 200 * NS,
            hbm_load_ps: 500 * NS,
            l2_atomic_ps: 300 * NS,
            wake_ps: 0,
            fence_gpu_ps: 400 * NS,
            fence_system_ps: 600 * NS,
            fence_posted_ps: 2000 * NS,
            fence_proxy_ps: 0,
            bulk_issue_ps: 0,
            bulk_ps: 100 * NS,
            sm_access_rate: 1_000_000,
            sm_load_rate: 1_000_000,
            sm_store_rate: 1000,
            store_ps: 300 * NS,
            l2_rate: 10_000_000,
            l2_bytes: 1 << 20,
            hbm_rate: 10_000_000,
            launch_ps: 3000 * NS,
        },
        links: LinkTiming {
            nvlink_rate: 1000,
            nvlink_ps: 1000 * NS,
            nvlink_load_ps: 2500 * NS,
            host_load_ps: 700 * NS,
            host_store_ps: 350 * NS,
            pcie_rate: 50_000,
        },
        nic: NicTiming {
            rate: 50_000,
            fetch_ps: 1000 * NS,
            entry_ps: 0,
            message_ps: 0,
            payload_ps: 600 * NS,
            leaf_ps: 500 * NS,
            spine_ps: 900 * NS,
            leaf_nodes: 1,
            place_ps: 300 * NS,
            atomic_ps: 0,
            complete_ps: 400 * NS,
            queue_pairs: 1000,
            miss_ps: 0,
        },
        grain_ps: 0,
        content_bytes: None,
    }
}

/// What a reading of the clock takes of what is between two: the end of the first, and the beginning of the second.
const READING: u64 = 2;

fn config(timing: Timing) -> MachineConfig {
    MachineConfig { timing: Some(timing), ..MachineConfig::new(1, 2) }
}

/// Nanoseconds that `act` takes, between two readings of the clock; `before` runs first.
fn taken(timing: Timing, before: &str, act: &str) -> u64 {
    let body = format!(
        "@!leader bra end;
        mov.u32 r1, s; add.u32 r2, s, 2048;
        mbarrier.init.shared::cta.b64 [r2], 1;
        fence.mbarrier_init.release.cluster;
        {before}
        mov.u64 y0, %globaltimer;
        {act}
        mov.u64 y1, %globaltimer;
        sub.u64 y2, y1, y0;
        st.global.u64 [x1], y2;
        end:"
    );
    let mut bench = Bench::new(config(timing), &body);
    bench.run(1, 32, 0).unwrap_or_else(|fault| panic!("{fault}"));
    bench.word(bench.x1)
}

#[test]
fn instructions_take_their_time() {
    let adds = "add.u32 r3, r3, 1;".repeat(50);
    assert_eq!(taken(timing(), "mov.u32 r3, 0;", &adds), 50 + READING);
}

/// A load is waited for where its value is used: two that are issued one behind the other come together.
#[test]
fn loads_are_waited_for_at_their_use() {
    let load = |to: &str, from: &str| format!("ld.global.u32 {to}, [{from}];");
    let both = load("r3", "x0") + &load("r4", "x0+64");
    let one = taken(timing(), "", &(load("r3", "x0") + "add.u32 r3, r3, 1;"));
    assert_eq!(one, 1 + 200 + 1 + READING);
    assert_eq!(taken(timing(), "", &(both.clone() + "add.u32 r3, r3, r4;")), 1 + one);
    assert_eq!(
        taken(timing(), "", &(load("r3", "x0") + "add.u32 r3, r3, 1;" + &load("r4", "x0+64") + "add.u32 r4, r4, 1;")),
        2 * one - READING
    );
    let shared = "ld.shared.u32 r3, [r1]; add.u32 r3, r3, 1;";
    assert_eq!(taken(timing(), "st.shared.u32 [r1], r2;", shared), 1 + 20 + 1 + READING);
}

#[test]
fn fences_take_what_their_scope_does() {
    assert_eq!(taken(timing(), "", "fence.acq_rel.gpu;"), 401 + READING);
    assert_eq!(taken(timing(), "", "fence.acq_rel.sys;"), 601 + READING);
    assert_eq!(taken(timing(), "", "st.release.sys.global.u32 [x0], 1;"), 601 + READING);
    assert_eq!(taken(timing(), "", "st.relaxed.sys.global.u32 [x0], 1;"), 1 + READING);
}

const LOAD: &str = "mbarrier.arrive.expect_tx.shared::cta.b64 y3, [r2], 1024;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [r1], [x0], 1024, [r2];";

fn wait(label: &str, parity: u32) -> String {
    format!("{label}: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [r2], {parity}; @!p bra {label};")
}

/// 1 ns of an SM's bulk unit at 1 TB/s, 100 of the unit, then device memory or L2.
#[test]
fn bulk_loads_come_from_memory_and_then_from_l2() {
    let first = taken(timing(), "", &(LOAD.to_string() + &wait("one", 0)));
    let again = taken(timing(), &(LOAD.to_string() + &wait("one", 0)), &(LOAD.to_string() + &wait("two", 1)));
    assert!((600..=610).contains(&first), "{first}");
    assert_eq!(first - again, 300, "L2 answers the second time");
}

const STORE: &str = "cp.async.bulk.global.shared::cta.bulk_group [x0], [r1], 1024; cp.async.bulk.commit_group;";

/// At 1 GB/s of an SM's bulk stores 1 KiB takes a microsecond to be read; another 300 ns until it is known to be written.
#[test]
fn bulk_stores_are_read_then_written() {
    let read = taken(timing(), "", &(STORE.to_string() + "cp.async.bulk.wait_group.read 0;"));
    let written = taken(timing(), "", &(STORE.to_string() + "cp.async.bulk.wait_group 0;"));
    let four = taken(timing(), "", &(STORE.repeat(4) + "cp.async.bulk.wait_group.read 0;"));
    assert!((1124..=1130).contains(&read), "{read}");
    assert!(written >= 300 && written >= read, "{written}");
    assert!((4 * 1024..=4 * 1024 + 120).contains(&four), "{four}: one after another through the SM's unit");
}

/// A kernel on GPU 1 looks at a word that GPU 0 stores; both write down when.
#[test]
fn stores_to_others_arrive_later() {
    let mut machine = Machine::new(config(timing())).unwrap_or_else(|error| panic!("{error}"));
    let store = "mov.u64 y0, %globaltimer; @leader st.relaxed.sys.global.u64 [x0], 7; @leader st.global.u64 [x1], y0;";
    let look =
        "look: ld.relaxed.sys.global.u64 y0, [x0]; setp.eq.u64 p, y0, 7; @p bra seen; nanosleep.u32 40; bra look;
        seen: mov.u64 y0, %globaltimer; @leader st.global.u64 [x1], y0;";
    let modules =
        [store, look].map(|body| machine.load_module("t.ptx", &kernel(body)).unwrap_or_else(|e| panic!("{e}")));
    let words = [0, 1].map(|gpu| machine.alloc(gpu, 64).unwrap());
    machine.enable_peer(0, 1).unwrap();
    let flag = machine.alloc(1, 64).unwrap();
    for address in [words[0], words[1], flag] {
        machine.fill(address, 0, 64).unwrap();
    }
    for gpu in [1, 0] {
        machine.launch(launch(gpu, modules[gpu], 1, 32, [flag, words[gpu], 0])).unwrap();
    }
    machine.run_until_idle().unwrap_or_else(|fault| panic!("{fault}"));
    let [stored, seen] = words.map(|address| {
        let mut bytes = [0; 8];
        machine.read(address, &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    });
    // One way over NVLink, half a sleep on average, a look.
    assert!((stored + 1000..stored + 1000 + 300).contains(&seen), "stored at {stored}, seen at {seen}");
    assert!(stored >= 3000, "a launch takes its time");
}

#[test]
fn a_part_has_a_share_of_what_sms_share() {
    let (whole, part) = (timing(), timing().part(8.0));
    assert_eq!((part.links.nvlink_rate, part.nic.rate), (whole.links.nvlink_rate / 8, whole.nic.rate / 8));
    assert_eq!((part.gpu.hbm_rate, part.gpu.l2_bytes), (whole.gpu.hbm_rate / 8, whole.gpu.l2_bytes / 8));
    assert_eq!((part.gpu.sm_store_rate, part.gpu.l2_load_ps), (whole.gpu.sm_store_rate, whole.gpu.l2_load_ps));
    assert_eq!(timing().part(1.0), whole);
}

#[test]
fn what_explores_has_no_clock() {
    let seeded = MachineConfig { schedule: Schedule::Random { seed: 1 }, ..config(timing()) };
    let weak = MachineConfig { memory: MemoryOrder::Weak, ..config(timing()) };
    for config in [seeded, weak] {
        assert_eq!(config.validate(), Err(ConfigError::Timed));
    }
    let mut stopped = timing();
    stopped.nic.rate = 0;
    let said = config(stopped).validate().unwrap_err().to_string();
    assert!(said.contains("timing.nic.rate"), "{said}");
}
