//! What hosts may do while a stream of an emulated GPU is captured, and while a graph runs.

use std::sync::Arc;
use std::time::Duration;

use super::emu::EmuMachine;
use super::{AccessRule, Driver, GraphId, Launch, StreamId, StreamPriority, Wait};
use crate::error::{Error, Result};
use crate::kernel::KernelImage;
use crate::mem::HostBlock;

const TIMEOUT: Duration = Duration::from_secs(1);
/// Adds 3 to a word.
const ADDS: &str = ".version 8.2\n.target sm_90\n.address_size 64\n.visible .entry adds(.param .u64 at) {\n
    .reg .b64 place, value;\n ld.param.u64 place, [at];\n ld.global.u64 value, [place];\n add.u64 value, value, 3;\n
    st.global.u64 [place], value;\n ret;\n}\n";
const IMAGE: KernelImage = KernelImage {
    name: "adds",
    kernel: "adds",
    text: ADDS,
    marked_text: ADDS,
    args: &[],
    static_shared: 0,
    max_threads: 32,
    cubins: &[],
};

/// A GPU with a graph that adds to the word of a host block, twice.
struct Bench {
    machine: EmuMachine,
    driver: Arc<dyn Driver>,
    stream: StreamId,
    block: HostBlock,
    graph: GraphId,
}

fn bench(races: bool) -> Result<Bench> {
    let mut config = warpferry_emu::MachineConfig::new(1, 1);
    config.checks.races = races;
    let machine = EmuMachine::new(config)?;
    let driver = machine.driver(0)?;
    let function = driver.load(&IMAGE)?;
    let (stream, block) = (driver.create_stream(StreamPriority::NORMAL)?, driver.alloc_host(8)?);
    driver.write_host(&block, 0, &7_u64.to_le_bytes())?;
    let access = [AccessRule { address: block.device, bytes: 8, read: true, write: true }];
    let mut args = block.device.address().to_le_bytes();
    assert!(!driver.is_capturing(stream)?);
    driver.begin_capture(stream)?;
    assert!(driver.is_capturing(stream)?);
    for _ in 0..2 {
        driver.launch(&Launch {
            function,
            grid: 1,
            block: 1,
            shared_bytes: 0,
            stream,
            args: &args,
            access: &access,
        })?;
    }
    // What the arguments were is what they are.
    args.fill(0xff);
    let graph = driver.end_capture(stream)?;
    Ok(Bench { machine, driver, stream, block, graph })
}

impl Bench {
    fn word(&self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.driver.read_host(&self.block, 0, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

fn well<T>(outcome: Result<T>) -> T {
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

fn said<T: std::fmt::Debug>(outcome: Result<T>) -> String {
    match outcome {
        Err(Error::Driver { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_host_comes_between_a_graphs_launch_and_its_end() {
    let bench = well(bench(false));
    assert_eq!(well(bench.word()), 7);
    for expected in [13, 19] {
        well(bench.driver.launch_graph(bench.graph, bench.stream));
        for refused in [bench.driver.write_host(&bench.block, 0, &[1; 8]), bench.word().map(drop)] {
            let message = said(refused);
            assert!(message.contains("used by graph 0, which runs"), "{message}");
        }
        let other = well(bench.driver.create_stream(StreamPriority::NORMAL));
        let message = said(bench.driver.copy_from_device(&mut [0; 8], bench.block.device, other));
        assert!(message.contains("used by graph 0, which runs"), "{message}");
        assert_eq!(well(bench.driver.synchronize(bench.stream, TIMEOUT)), Wait::Done);
        assert_eq!(well(bench.word()), expected);
    }
    well(bench.driver.write_host(&bench.block, 0, &[0; 8]));
    well(bench.driver.destroy_graph(bench.graph));
    let message = said(bench.driver.launch_graph(bench.graph, bench.stream));
    assert!(message.contains("no graph 0"), "{message}");
}

/// Method: the machine's own write, which asks no driver; what the kernels of the graph then do is a race.
#[test]
fn a_host_write_between_a_graphs_launch_and_its_end_is_a_race() {
    let bench = well(bench(true));
    well(bench.driver.launch_graph(bench.graph, bench.stream));
    assert_eq!(well(bench.driver.synchronize(bench.stream, TIMEOUT)), Wait::Done);
    assert_eq!(well(bench.word()), 13);
    well(bench.driver.launch_graph(bench.graph, bench.stream));
    let raced = bench.machine.with(|machine| machine.write(bench.block.id, &[1; 8])).map_err(|error| error.to_string());
    let told = raced.and_then(|()| match bench.driver.synchronize(bench.stream, TIMEOUT) {
        Ok(ended) => panic!("{ended:?}"),
        Err(error) => Err::<(), String>(error.to_string()),
    });
    let told = told.expect_err("a race");
    assert!(told.contains("host") && told.contains("adds"), "{told}");
}

#[test]
fn a_stream_that_joined_a_capture_is_asked_nothing_either() {
    let bench = well(bench(false));
    let (driver, stream) = (&bench.driver, bench.stream);
    let other = well(driver.create_stream(StreamPriority::NORMAL));
    let (fork, join) = (well(driver.create_event()), well(driver.create_event()));
    for asks in [true, false] {
        well(driver.begin_capture(stream));
        well(driver.record_event(fork, stream));
        well(driver.stream_wait_event(other, fork));
        well(driver.fill(bench.block.device, 0, 8, other));
        if asks {
            let message = said(driver.is_idle(other));
            assert!(message.contains("is being captured"), "{message}");
            said(driver.end_capture(stream));
            continue;
        }
        well(driver.record_event(join, other));
        well(driver.stream_wait_event(stream, join));
        let graph = well(driver.end_capture(stream));
        well(driver.launch_graph(graph, stream));
        assert_eq!(well(driver.synchronize(stream, TIMEOUT)), Wait::Done);
        assert_eq!(well(bench.word()), 0);
    }
}
