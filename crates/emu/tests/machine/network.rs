//! A kernel posts work to its NIC as the library's kernels do, and what it forgets is found.

use crate::schedules;
use warpferry_emu::{FaultKind, Launch, Machine, MachineConfig, RunOutcome, Schedule, StreamId};
use warpferry_nic::wqe::{self, Control, DataSegment, Remote};
use warpferry_nic::{QueueConfig, Rights};

/// Posts the 64-byte entry that lies at `entry` (made by the host): stores the payload, the entry, the record, rings,
/// and waits for the completion.
fn kernel(payload: &str, after_entry: &str, record: &str, after_record: &str) -> String {
    format!(
        ".version 8.2\n.target sm_90\n.address_size 64\n
        .visible .entry post(.param .u64 payload, .param .u64 entry, .param .u64 queue, .param .u64 record,
                             .param .u64 doorbell, .param .u64 completion) {{
            .reg .b64 at, from, to, word, value, stage_at; .reg .b32 lane, s; .reg .pred leader, p;
            .shared .align 16 .b8 stage[64];
            mov.u32 lane, %laneid; setp.eq.u32 leader, lane, 0; mov.u32 s, stage;
            // the payload: 32 words
            ld.param.u64 at, [payload];
            {payload}
            // the entry, 16 lanes a word each
            ld.param.u64 from, [entry]; ld.param.u64 to, [queue];
            mad.wide.u32 from, lane, 8, from; mad.wide.u32 to, lane, 8, to;
            setp.lt.u32 p, lane, 8;
            @p ld.global.u64 value, [from];
            @p st.global.u64 [to], value;
            {after_entry}
            @!leader bra end;
            ld.param.u64 at, [record];
            {record}
            {after_record}
            ld.param.u64 from, [entry]; ld.global.u64 value, [from];
            ld.param.u64 at, [doorbell];
            st.mmio.relaxed.sys.global.u64 [at], value;
            ld.param.u64 at, [completion];
        poll:
            ld.acquire.sys.global.u64 word, [at+56];
            shr.u64 word, word, 60;
            setp.eq.u64 p, word, 0;
            @p bra end;
            nanosleep.u32 100;
            bra poll;
        end:
            ret;
        }}"
    )
}

const WEAK: &str = "mad.wide.u32 at, lane, 4, at; add.u32 s, lane, 500; st.global.u32 [at], s;";
const MEET: &str = "bar.warp.sync -1;";
const RECORD: &str = "st.release.sys.global.u32 [at+4], 0x01000000;";
const FENCE: &str = "fence.acq_rel.sys;";

struct Pair {
    machine: Machine,
    target: u64,
    launch: Launch,
}

fn pair(schedule: Schedule, text: &str) -> Pair {
    let mut machine = Machine::new(MachineConfig { schedule, ..MachineConfig::new(2, 1) }).unwrap();
    let module = machine.load_module("post.ptx", text).unwrap_or_else(|e| panic!("{e}"));
    let payload = machine.alloc(0, 128).unwrap();
    let queue = machine.alloc(0, 16 * 64 + 8 + 56 + 64).unwrap();
    let (record, completion) = (queue + 1024, queue + 1024 + 64);
    let entry = machine.alloc(0, 64).unwrap();
    let target = machine.alloc(1, 128).unwrap();
    let remote_queue = machine.alloc(1, 2048).unwrap();
    machine.fill(record, 0, 8).unwrap();
    machine.fill(completion, 0xff, 64).unwrap();
    let local = machine.register_memory(0, payload, 128, Rights::default()).unwrap();
    let remote = machine.register_memory(1, target, 128, Rights::remote()).unwrap();
    let pair = machine.create_queue_pair(0, QueueConfig::collapsed(queue, 16, record, completion)).unwrap();
    let config = QueueConfig::collapsed(remote_queue, 16, remote_queue + 1024, remote_queue + 1088);
    let other = machine.create_queue_pair(1, config).unwrap();
    machine.network_mut().connect(pair.number, other.number).unwrap();
    let doorbell = machine.map_doorbell(0, 0).unwrap() + pair.doorbell_offset_bytes;
    let bytes = wqe::rdma_write(
        Control::new(pair.number, 0).signaled(),
        Remote { address: target, rkey: remote.rkey },
        &[DataSegment { bytes: 128, lkey: local.lkey, address: payload }],
    );
    machine.write(entry, &bytes).unwrap();
    let args = [payload, entry, queue, record, doorbell, completion];
    let launch = Launch {
        gpu: 0,
        stream: StreamId::DEFAULT,
        module,
        entry: "post".into(),
        grid: [1, 1, 1],
        block: [32, 1, 1],
        shared_bytes: 0,
        args: args.iter().flat_map(|v| v.to_le_bytes()).collect(),
        access: Vec::new(),
    };
    Pair { machine, target, launch }
}

#[test]
fn a_kernel_writes_remote_memory() {
    for schedule in schedules(20) {
        let mut pair = pair(schedule.clone(), &kernel(WEAK, MEET, RECORD, FENCE));
        pair.machine.launch(pair.launch.clone()).unwrap();
        let outcome = pair.machine.run_until_idle().unwrap_or_else(|f| panic!("{schedule:?}: {f}"));
        assert!(matches!(outcome, RunOutcome::Idle), "{outcome:?}");
        let mut back = [0; 128];
        pair.machine.read(pair.target, &mut back).unwrap();
        let words: Vec<u32> = back.chunks(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect();
        assert_eq!(words, (500..532).collect::<Vec<u32>>());
        let nic = pair.machine.nic(0).unwrap();
        let counts = pair.machine.network().nic_counters(nic).unwrap();
        assert_eq!((counts.writes, counts.write_bytes, counts.doorbells), (1, 128, 1));
    }
}

/// Without a release or fence of system scope the doorbell record is not ordered before the doorbell; without the
/// meeting the stores of the other lanes are not visible.
#[test]
fn stores_that_the_bus_cannot_see_are_found() {
    let relaxed = "st.relaxed.sys.global.u32 [at+4], 0x01000000;";
    for (text, unordered_record) in [
        (kernel(WEAK, MEET, relaxed, ""), true),
        (kernel(WEAK, MEET, relaxed, "fence.acq_rel.gpu;"), true),
        (kernel(WEAK, MEET, RECORD, ""), true),
        (kernel(WEAK, MEET, "st.global.u32 [at+4], 0x01000000;", ""), true),
        (kernel(WEAK, "", RECORD, FENCE), false),
    ] {
        for schedule in schedules(5) {
            let mut pair = pair(schedule, &text);
            pair.machine.launch(pair.launch.clone()).unwrap();
            let found = pair.machine.run_until_idle().unwrap_err();
            match &found.kind {
                FaultKind::Doorbell(what) if unordered_record => assert!(what.contains("record"), "{found}"),
                FaultKind::BusVisibility(hidden) if !unordered_record => {
                    assert!(hidden.stored.instruction.contains("st.global"), "{found}");
                    assert!(hidden.reader.contains("nic"), "{found}");
                }
                _ => panic!("{found}"),
            }
        }
    }
}

/// A bulk store must be waited for, and not only for its read.
#[test]
fn bulk_stores_must_be_waited_for() {
    let payload = |wait: &str| {
        format!(
            "add.u32 s, lane, 500; mad.wide.u32 at, lane, 4, at; st.global.u32 [at], s;
            mov.u32 s, stage; ld.param.u64 at, [payload];
            mov.u64 word, 7;
            @leader st.shared.v2.u64 [s], {{word, word}};
            @leader fence.proxy.async.shared::cta;
            @leader cp.async.bulk.global.shared::cta.bulk_group [at], [s], 16;
            @leader cp.async.bulk.commit_group;
            {wait}"
        )
    };
    let run = |wait: &str, schedule: Schedule| {
        let mut pair = pair(schedule, &kernel(&payload(wait), MEET, RECORD, FENCE));
        pair.machine.launch(pair.launch.clone()).unwrap();
        pair.machine.run_until_idle()
    };
    for schedule in schedules(10) {
        run("@leader cp.async.bulk.wait_group 0;", schedule.clone()).unwrap_or_else(|f| panic!("{schedule:?} {f}"));
        let found = run("@leader cp.async.bulk.wait_group.read 0;", schedule).unwrap_err();
        assert!(found.to_string().contains("wait_group"), "{found}");
    }
}

#[test]
fn doorbells_take_one_kind_of_store() {
    let good = kernel(WEAK, MEET, RECORD, FENCE);
    for wrong in
        ["st.global.u64 [at], value", "st.relaxed.gpu.global.u64 [at], value", "st.mmio.relaxed.sys.global.u32 [at], s"]
    {
        let mut pair = pair(Schedule::RoundRobin, &good.replace("st.mmio.relaxed.sys.global.u64 [at], value", wrong));
        pair.machine.launch(pair.launch.clone()).unwrap();
        let found = pair.machine.run_until_idle().unwrap_err();
        assert!(matches!(found.kind, FaultKind::Doorbell(_)), "{found}");
    }
}

/// A doorbell that names nothing is a fault, never ignored.
#[test]
fn wrong_doorbells_are_faults() {
    let text = kernel(WEAK, MEET, RECORD, FENCE)
        .replace("ld.param.u64 at, [doorbell];", "ld.param.u64 at, [doorbell]; mov.u64 value, 0x0100;");
    let mut pair = pair(Schedule::RoundRobin, &text);
    pair.machine.launch(pair.launch.clone()).unwrap();
    let found = pair.machine.run_until_idle().unwrap_err();
    assert!(matches!(found.kind, FaultKind::Nic(_)), "{found}");
}

/// A device that sleeps looks at what the doorbell names, so the record must not say more.
#[test]
fn a_doorbell_names_what_its_record_does() {
    let two = RECORD.replace("0x01000000", "0x02000000");
    let mut pair = pair(Schedule::RoundRobin, &kernel(WEAK, MEET, &two, FENCE));
    pair.machine.launch(pair.launch.clone()).unwrap();
    let found = pair.machine.run_until_idle().unwrap_err();
    assert!(found.to_string().contains("names entries up to 1, its record 2"), "{found}");
}
