//! A stream that stands still until the host opens it: a kernel waits there for a word of the host's.

use warpferry::driver::{Driver, EventId, Launch, StreamId, StreamPriority};
use warpferry::kernel::image::KernelImage;
use warpferry::mem::HostBlock;

/// Waits until a word is not 0.
const GATE: &str = ".version 8.2\n.target sm_90\n.address_size 64\n.visible .entry gate(.param .u64 at) {\n
    .reg .b64 place, word;\n .reg .pred shut;\n ld.param.u64 place, [at];\n
look:\n ld.acquire.sys.global.u64 word, [place];\n setp.eq.u64 shut, word, 0;\n
    @!shut bra open;\n nanosleep.u32 200;\n bra look;\nopen:\n ret;\n}\n";
const IMAGE: KernelImage = KernelImage {
    name: "gate",
    kernel: "gate",
    text: GATE,
    marked_text: GATE,
    args: &[],
    static_shared: 0,
    max_threads: 32,
    cubins: &[],
};
/// A stream that stands still until it is opened.
pub struct Gate {
    pub stream: StreamId,
    /// Reached when it is open.
    pub event: EventId,
    word: HostBlock,
}

impl Gate {
    /// A new stream, shut.
    pub fn shut(driver: &dyn Driver) -> warpferry::Result<Gate> {
        let function = driver.load(&IMAGE)?;
        let (stream, event) = (driver.create_stream(StreamPriority::NORMAL)?, driver.create_event()?);
        let word = driver.alloc_host(8)?;
        driver.write_host(&word, 0, &[0; 8])?;
        let args = word.device.address().to_le_bytes();
        driver.launch(&Launch { function, grid: 1, block: 1, shared_bytes: 0, stream, args: &args, access: &[] })?;
        driver.record_event(event, stream)?;
        Ok(Gate { stream, event, word })
    }

    /// Lets the stream go on.
    pub fn open(&self, driver: &dyn Driver) -> warpferry::Result<()> {
        driver.write_host(&self.word, 0, &1_u64.to_le_bytes())
    }
}
