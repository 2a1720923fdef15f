//! Doorbells of one NIC: host-mapped lines that kernels store to and the serving thread looks at.
//!
//! Every queue pair has a line of its own: two that rang one word would overwrite each other before the thread looks.
//! Rings of one queue pair may overwrite each other, since each carries the position of the last entry posted. A ring
//! is seen as a changed word. Positions have 16 bits and a send queue has far fewer entries, so two rings with the same
//! value cannot follow each other: the entries between them would have to complete without having been seen.

use std::sync::Arc;

use crate::driver::Driver;
use crate::error::Result;
use crate::mem::{DevicePtr, HostBuffer};

/// Bytes of a line: a cache line, so that a store to one does not disturb another.
const LINE_BYTES: usize = 64;
/// Lines of a page, which is one host block.
pub(super) const PAGE_LINES: usize = 64;

/// A host block of lines.
#[derive(Debug)]
struct Page {
    buffer: HostBuffer,
    /// Queue pair of each line, and the last word seen there.
    lines: [Option<Line>; PAGE_LINES],
}

#[derive(Debug, Clone, Copy)]
struct Line {
    number: u32,
    seen: u64,
}

/// The lines of one NIC.
#[derive(Debug, Default)]
pub(super) struct Doorbells {
    pages: Vec<Page>,
    /// Kept for its memory.
    copy: Vec<u8>,
}

impl Doorbells {
    /// Makes sure that [`Doorbells::assign`] finds a line.
    pub fn reserve(&mut self, driver: &Arc<dyn Driver>) -> Result<()> {
        if self.pages.iter().any(|page| page.lines.iter().any(Option::is_none)) {
            return Ok(());
        }
        let buffer = HostBuffer::zeroed(driver, (PAGE_LINES * LINE_BYTES) as u64)?;
        self.pages.push(Page { buffer, lines: [None; PAGE_LINES] });
        Ok(())
    }

    /// A free line for queue pair `number`, as the device sees it.
    pub fn assign(&mut self, number: u32) -> Option<DevicePtr> {
        for page in &mut self.pages {
            if let Some(place) = page.lines.iter().position(Option::is_none) {
                page.lines[place] = Some(Line { number, seen: 0 });
                return Some(page.buffer.device().offset((place * LINE_BYTES) as u64));
            }
        }
        None
    }

    /// Gives the line of queue pair `number` back. Nothing rings it any more.
    pub fn release(&mut self, driver: &Arc<dyn Driver>, number: u32) -> Result<()> {
        for page in &mut self.pages {
            let owned = |line: &Option<Line>| line.is_some_and(|line| line.number == number);
            if let Some(place) = page.lines.iter().position(owned) {
                // What its next owner finds: no ring yet. A line that cannot be cleared is not used again.
                driver.write_host(page.buffer.block(), (place * LINE_BYTES) as u64, &[0; 8])?;
                page.lines[place] = None;
            }
        }
        Ok(())
    }

    /// Puts the words of lines that rang since the last look into `rung`.
    pub fn look(&mut self, driver: &Arc<dyn Driver>, rung: &mut Vec<u64>) -> Result<()> {
        for page in &mut self.pages {
            let Some(last) = page.lines.iter().rposition(Option::is_some) else { continue };
            self.copy.resize((last + 1) * LINE_BYTES, 0);
            driver.read_host(page.buffer.block(), 0, &mut self.copy)?;
            for (place, (line, bytes)) in page.lines.iter_mut().zip(self.copy.chunks_exact(LINE_BYTES)).enumerate() {
                let Some(line) = line else { continue };
                if bytes.first_chunk() == Some(&line.seen.to_le_bytes()) {
                    continue;
                }
                // Once more and alone: a driver copies one aligned word whole, but not every word of a long range.
                let mut word = [0; 8];
                driver.read_host(page.buffer.block(), (place * LINE_BYTES) as u64, &mut word)?;
                line.seen = u64::from_le_bytes(word);
                rung.push(line.seen);
            }
        }
        Ok(())
    }
}
