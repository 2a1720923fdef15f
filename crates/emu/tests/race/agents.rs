//! Agents beyond the CTA: other GPUs, streams, the host.

use crate::rig::{self, check, entry, launch, launch_in, machine, module, race_of, schedules, zeroed};
use warpferry_emu::{Machine, MachineError, ModuleId, Schedule, StreamId};

const NO_PATH: &str = "no release/acquire path";

/// GPU 0 writes data and raises a flag in GPU 1's memory; GPU 1 waits for it and reads.
fn over_nvlink(raise: &str, look: &str) -> Vec<Option<String>> {
    let writer = format!("@!here bra over; st.global.u32 [data], 7; {raise} over:");
    let reader = format!(
        "@!here bra over;
        look: {look} setp.eq.u32 done, seen, 1; @!done bra look; ld.global.u32 value, [data]; over:"
    );
    let text = module(&[entry("writer", &writer), entry("reader", &reader)]);
    let run = |schedule: Schedule| {
        let mut machine = machine(1, 2, schedule);
        let id = machine.load_module("program.ptx", &text).unwrap();
        let (data, flag) = (zeroed(&mut machine, 1, 4096), zeroed(&mut machine, 1, 4096));
        let peer = [machine.map_peer(data, 0).unwrap(), machine.map_peer(flag, 0).unwrap()];
        launch(&mut machine, id, 1, "reader", (1, 32), [data, flag, 0]);
        launch(&mut machine, id, 0, "writer", (1, 32), [peer[0], peer[1], 0]);
        race_of(&mut machine)
    };
    schedules().into_iter().map(run).collect()
}

#[test]
fn messages_between_gpus_need_system_scope() {
    let sound = over_nvlink("st.release.sys.global.u32 [flag], 1;", "ld.acquire.sys.global.u32 seen, [flag];");
    assert!(sound.iter().all(Option::is_none), "{sound:?}");
    let fenced = over_nvlink(
        "fence.acq_rel.sys; st.relaxed.sys.global.u32 [flag], 1;",
        "ld.relaxed.sys.global.u32 seen, [flag]; fence.acq_rel.sys;",
    );
    assert!(fenced.iter().all(Option::is_none), "{fenced:?}");
    let acquire = "ld.acquire.sys.global.u32 seen, [flag];";
    for (raise, look, words) in [
        ("st.release.gpu.global.u32 [flag], 1;", acquire, "scopes gpu and sys do not include each other"),
        (
            "st.release.sys.global.u32 [flag], 1;",
            "ld.acquire.gpu.global.u32 seen, [flag];",
            "do not include each other",
        ),
        ("st.relaxed.sys.global.u32 [flag], 1;", acquire, NO_PATH),
        ("fence.acq_rel.gpu; st.relaxed.sys.global.u32 [flag], 1;", acquire, NO_PATH),
        ("fence.acq_rel.sys; st.global.u32 [flag], 1;", acquire, NO_PATH),
    ] {
        check(over_nvlink(raise, look), words, raise);
    }
}

/// A machine with a kernel that writes 128 bytes and one that reads them.
fn two_kernels(schedule: Schedule) -> (Machine, ModuleId, u64) {
    let mut machine = machine(1, 2, schedule);
    let place = "mad.lo.u32 at, thread, 4, 0; cvt.u64.u32 wide, at; add.u64 wide, wide, data;";
    let write = entry("write", &format!("{place} st.global.u32 [wide], thread;"));
    let read = entry("read", &format!("{place} ld.global.u32 value, [wide];"));
    let id = machine.load_module("program.ptx", &module(&[write, read])).unwrap();
    let data = zeroed(&mut machine, 0, 4096);
    (machine, id, data)
}

#[test]
fn kernels_of_a_stream_are_ordered_and_those_of_two_need_an_event() {
    for schedule in schedules() {
        let (mut machine, id, data) = two_kernels(schedule);
        for name in ["write", "read", "write"] {
            launch(&mut machine, id, 0, name, (1, 32), [data, 0, 0]);
        }
        assert_eq!(race_of(&mut machine), None);
    }
    for schedule in schedules() {
        let (mut machine, id, data) = two_kernels(schedule.clone());
        let other = machine.create_stream(0).unwrap();
        let event = machine.create_event();
        launch(&mut machine, id, 0, "write", (1, 32), [data, 0, 0]);
        machine.record_event(0, StreamId::DEFAULT, event).unwrap();
        machine.wait_event(0, other, event).unwrap();
        launch_in(&mut machine, id, (0, other), "read", (1, 32), [data, 0, 0]);
        assert_eq!(race_of(&mut machine), None);
        let (mut machine, id, data) = two_kernels(schedule);
        let other = machine.create_stream(0).unwrap();
        launch(&mut machine, id, 0, "write", (1, 32), [data, 0, 0]);
        launch_in(&mut machine, id, (0, other), "read", (1, 32), [data, 0, 0]);
        assert!(race_of(&mut machine).is_some_and(|race| race.contains(NO_PATH)));
    }
}

#[test]
fn copies_in_streams_are_ordered_with_their_kernels_only() {
    let (mut machine, id, data) = two_kernels(Schedule::RoundRobin);
    machine.stream_fill(0, StreamId::DEFAULT, data, 1, 128).unwrap();
    launch(&mut machine, id, 0, "read", (1, 32), [data, 0, 0]);
    machine.stream_write(0, StreamId::DEFAULT, data, vec![2; 128]).unwrap();
    machine.stream_read(0, StreamId::DEFAULT, data, 128).unwrap();
    assert_eq!(race_of(&mut machine), None);
    let (mut machine, id, data) = two_kernels(Schedule::RoundRobin);
    let other = machine.create_stream(0).unwrap();
    launch(&mut machine, id, 0, "write", (1, 32), [data, 0, 0]);
    machine.stream_fill(0, other, data, 1, 128).unwrap();
    assert!(race_of(&mut machine).is_some_and(|race| race.contains(NO_PATH) && race.contains("in stream 1")));
}

/// A kernel looks at a word until a stream sets it, then reads what the stream wrote before.
#[test]
fn a_word_of_a_stream_may_be_looked_at_and_a_copy_may_not() {
    let text = "look: ld.acquire.sys.global.u64 wide, [flag]; setp.eq.u64 done, wide, 1; @!done bra look;
        ld.global.u32 value, [data];";
    for (load, as_word, clean) in [
        ("ld.acquire.sys", true, true),
        ("ld.acquire.sys", false, false),
        ("ld.relaxed.sys", true, false),
        ("ld.acquire.gpu", true, false),
    ] {
        for schedule in schedules() {
            let mut machine = machine(1, 1, schedule);
            let text = module(&[entry("wait", &text.replace("ld.acquire.sys", load))]);
            let id = machine.load_module("program.ptx", &text).unwrap();
            let (data, flag) = (zeroed(&mut machine, 0, 4096), zeroed(&mut machine, 0, 4096));
            let side = machine.create_stream(0).unwrap();
            launch(&mut machine, id, 0, "wait", (1, 32), [data, flag, 0]);
            let mut turns = 0;
            machine
                .run(|_| {
                    turns += 1;
                    turns > 40
                })
                .unwrap();
            machine.stream_write(0, side, data, vec![7; 4]).unwrap();
            if as_word {
                machine.stream_write_word(0, side, flag, 1).unwrap();
            } else {
                machine.stream_write(0, side, flag, 1u64.to_le_bytes().to_vec()).unwrap();
            }
            let race = race_of(&mut machine);
            assert_eq!(race.is_none(), clean, "{load}, as a word: {as_word}: {race:?}");
        }
    }
}

#[test]
fn a_word_of_a_stream_is_aligned() {
    let mut machine = machine(1, 1, Schedule::RoundRobin);
    let data = zeroed(&mut machine, 0, 4096);
    machine.stream_write_word(0, StreamId::DEFAULT, data + 4, 1).unwrap();
    let fault = machine.run(|_| false).expect_err("no word lies there");
    assert!(fault.to_string().contains("not aligned to 8 bytes"), "{fault}");
}

#[test]
fn the_host_reads_what_is_complete_or_acquired() {
    let write = "@!here bra over; st.global.u32 [data], 7; st.release.sys.global.u32 [flag], 1;
        look: ld.relaxed.sys.global.u32 seen, [other]; setp.eq.u32 done, seen, 1; @!done bra look; over:";
    for (release, clean) in [("st.release.sys", true), ("st.relaxed.sys", false), ("st.release.gpu", false)] {
        let mut machine = machine(1, 1, Schedule::RoundRobin);
        let text = module(&[entry("write", &write.replace("st.release.sys", release))]);
        let id = machine.load_module("program.ptx", &text).unwrap();
        let host = machine.alloc_host(0, 4096).unwrap();
        machine.fill(host, 0, 4096).unwrap();
        let data = zeroed(&mut machine, 0, 4096);
        launch(&mut machine, id, 0, "write", (1, 32), [data, host, host + 8]);
        let word = |machine: &Machine, address: u64| {
            let mut word = [0; 4];
            machine.read(address, &mut word).map(|()| u32::from_le_bytes(word))
        };
        let seen = machine.run(|machine| matches!(word(machine, host), Ok(1) | Err(_)));
        assert!(seen.is_ok(), "{seen:?}");
        let value = word(&machine, host).and_then(|_| word(&machine, data));
        match (value, clean) {
            (Ok(7), true) => {}
            (Err(MachineError::Race(_)), false) => {}
            other => panic!("{release}: {other:?}"),
        }
        // Told to end, the kernel ends: then everything is known.
        machine.write(host + 8, &1u32.to_le_bytes()).unwrap();
        assert_eq!(race_of(&mut machine), None);
        assert_eq!(word(&machine, data), Ok(7));
    }
}

#[test]
fn hosts_of_their_own_do_not_know_of_other_gpus_kernels() {
    let text = module(&[
        entry("write", "@here st.global.u32 [data], 7;"),
        entry("read", "@here ld.global.u32 value, [data];"),
        entry("wait", "look: ld.relaxed.sys.global.u32 seen, [data]; setp.eq.u32 done, seen, 1; @!done bra look;"),
    ]);
    for (own, clean) in [(false, true), (true, false)] {
        let schedule = Schedule::RoundRobin;
        let mut machine = if own { rig::machine_of_hosts(2, schedule) } else { machine(1, 2, schedule) };
        let id = machine.load_module("program.ptx", &text).unwrap();
        let (data, busy) = (zeroed(&mut machine, 0, 4096), zeroed(&mut machine, 0, 4096));
        let peer = machine.map_peer(data, 1).unwrap();
        // Something runs all the time, so the two hosts have no quiet moment to meet in.
        let side = machine.create_stream(0).unwrap();
        launch_in(&mut machine, id, (0, side), "wait", (1, 32), [busy, 0, 0]);
        let first = launch(&mut machine, id, 0, "write", (1, 32), [data, 0, 0]);
        machine.run(|machine| machine.launch_done(first).unwrap()).unwrap();
        launch(&mut machine, id, 1, "read", (1, 32), [peer, 0, 0]);
        machine.write(busy, &1u32.to_le_bytes()).unwrap();
        assert_eq!(race_of(&mut machine).is_none(), clean, "hosts of their own: {own}");
    }
}
