//! What hosts of an emulated cluster are told of a GPU that has faulted.

use std::time::Duration;

use super::emu::EmuMachine;
use super::{Driver, EventId, Launch, StreamPriority, Wait};
use crate::error::Error;
use crate::kernel::KernelImage;

const TIMEOUT: Duration = Duration::from_secs(1);
const IMAGE: KernelImage = KernelImage {
    name: "",
    kernel: "",
    text: "",
    marked_text: "",
    args: &[],
    static_shared: 0,
    max_threads: 32,
    cubins: &[],
};
const ENDS: &str = ".version 8.2\n.target sm_90\n.address_size 64\n.visible .entry ends() {\n ret;\n}\n";
const TRAPS: &str = ".version 8.2\n.target sm_90\n.address_size 64\n.visible .entry traps() {\n trap;\n ret;\n}\n";

/// Launches a kernel; the event behind it.
fn launch(driver: &dyn Driver, name: &'static str, text: &'static str) -> crate::Result<EventId> {
    let function = driver.load(&KernelImage { name, kernel: name, text, marked_text: text, ..IMAGE })?;
    let (stream, event) = (driver.create_stream(StreamPriority::NORMAL)?, driver.create_event()?);
    driver.launch(&Launch { function, grid: 1, block: 32, shared_bytes: 0, stream, args: &[], access: &[] })?;
    driver.record_event(event, stream)?;
    Ok(event)
}

/// Method: the machine runs for the host of another GPU when the fault comes; the run tells of it once.
#[test]
fn a_fault_is_told_to_who_waits_for_an_event_later() {
    let machine = EmuMachine::new(warpferry_emu::MachineConfig::new(1, 2)).unwrap_or_else(|error| panic!("{error}"));
    let drivers = [0, 1].map(|gpu| machine.driver(gpu).unwrap_or_else(|error| panic!("{error}")));
    let broken = launch(&*drivers[1], "traps", TRAPS).unwrap_or_else(|error| panic!("{error}"));
    let sound = launch(&*drivers[0], "ends", ENDS).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(drivers[0].synchronize_event(sound, TIMEOUT).unwrap_or_else(|error| panic!("{error}")), Wait::Done);
    for _ in 0..2 {
        let told = drivers[1].synchronize_event(broken, TIMEOUT);
        assert!(matches!(&told, Err(Error::Driver { message, .. }) if message.contains("trap")), "{told:?}");
    }
}
