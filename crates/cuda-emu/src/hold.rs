//! Work that is held back: on a GPU a copy ends some time after the call that asked for it, so who uses its memory before
//! that finds other bytes. By itself the emulator copies as soon as the stream comes there.
//!
//! In front of each copy, fill and word the stream gets a mark and a gate: when the stream has come to the mark, some
//! time goes by or some questions are asked, then the gate opens.

use crate::memory::refused;
use crate::result::Outcome;
use crate::state::State;
use std::time::{Duration, Instant};
use warpferry_emu::{EventId, StreamId};

/// Longest time at the head of a stream.
const LONGEST_NS: u64 = 3_000_000;
/// Most questions that a held command outlasts.
const MOST_LOOKS: u64 = 40;

/// What is held back.
#[derive(Debug)]
pub(crate) struct Holds {
    random: u64,
    held: Vec<Hold>,
    /// Marks and gates that may be used again.
    spare: Vec<(EventId, EventId)>,
}

/// A command that is held back.
#[derive(Debug)]
struct Hold {
    device: usize,
    /// Reached when the command is at the head of its stream.
    mark: EventId,
    gate: EventId,
    /// Set then.
    open: Option<Open>,
}

/// When a gate opens: at a time, or earlier when it was asked for so often.
#[derive(Debug)]
struct Open {
    at: Instant,
    looks: Option<u64>,
}

impl Holds {
    pub fn new(seed: u64) -> Holds {
        Holds { random: seed, held: Vec::new(), spare: Vec::new() }
    }

    /// The next number of SplitMix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Every other gate opens after a time only; the others after some questions, or the longest time.
    fn draw_open(&mut self) -> Open {
        let drawn = self.draw();
        let (by_time, size) = (drawn & 1 == 0, drawn >> 1);
        let ns = if by_time { size % LONGEST_NS } else { LONGEST_NS };
        Open { at: Instant::now() + Duration::from_nanos(ns), looks: (!by_time).then_some(size % MOST_LOOKS) }
    }
}

impl State {
    /// Holds back what is put next into this stream, when the settings say so.
    pub fn hold(&mut self, device: usize, stream: StreamId) -> Outcome {
        let Some(holds) = &mut self.holds else { return Ok(()) };
        let machine = &mut self.machine;
        // What is captured runs in its graph, without gates.
        if machine.is_capturing(device, stream) {
            return Ok(());
        }
        let (mark, gate) = holds.spare.pop().unwrap_or_else(|| (machine.create_event(), machine.create_event()));
        machine.record_event(device, stream, mark).or_else(refused)?;
        machine.arm_event(gate).or_else(refused)?;
        machine.wait_event(device, stream, gate).or_else(refused)?;
        holds.held.push(Hold { device, mark, gate, open: None });
        Ok(())
    }

    /// Opens the gates whose time has come. `asked`: a call asks for the end of work.
    pub fn look_at_holds(&mut self, asked: bool) {
        let Some(holds) = &mut self.holds else { return };
        if holds.held.is_empty() {
            return;
        }
        let now = Instant::now();
        for mut hold in std::mem::take(&mut holds.held) {
            // A broken GPU does nothing any more.
            if self.devices[hold.device].broken.is_some() {
                continue;
            }
            if hold.open.is_none() && self.machine.event_reached(hold.mark) == Ok(true) {
                hold.open = Some(holds.draw_open());
            }
            let opens = hold.open.as_mut().is_some_and(|open| {
                let enough = open.looks == Some(0);
                open.looks = open.looks.map(|left| left.saturating_sub(u64::from(asked)));
                now >= open.at || asked && enough
            });
            if !opens {
                holds.held.push(hold);
            } else if self.machine.reach_event(hold.gate).is_ok() {
                holds.spare.push((hold.mark, hold.gate));
            }
        }
    }

    /// Whether anything is held back now.
    pub fn holds_back(&self) -> bool {
        self.holds.as_ref().is_some_and(|holds| !holds.held.is_empty())
    }
}
