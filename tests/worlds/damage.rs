//! What only a bug elsewhere could do: a word of a rank's memory is not what its kernels left. And a cancel that comes
//! while kernels run, at any time.
//!
//! Method: every rank's driver is wrapped. Right before one launch of one rank the host changes the word. Then nothing of
//! that rank runs, and no peer writes the word: words of the state and the block are the rank's own, and tails of rings
//! rest until the rank takes part in the exchange. Addresses come from the block of constants, which is found among the
//! rank's allocations by what it holds.
//!
//! A cancel comes from the host of one rank, which lets the cluster run for a time right behind a launch of its own.

use std::fmt;
use std::mem::offset_of;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use warpferry::comm::Canceller;
use warpferry::driver::emu::EmuMachine;
use warpferry::driver::wrap::{Hook, Outcome};
use warpferry::plan::blocks::{CommBlock, StateHead};
use warpferry::status::{Cause, StatusLine};
use warpferry::{Error, Result};

/// A word, and the launch before which it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// A dispatch seems to be under way when another begins.
    DispatchBusy,
    /// Likewise for a combine.
    CombineBusy,
    /// An earlier kernel seems to have given up when the exchange begins, or the dispatch, or the combine.
    AbortedExchange,
    AbortedDispatch,
    AbortedCombine,
    /// The rank's plan is another one.
    PlanHash,
    /// Arrivals run ahead in the rings of channel 0: their slots are of an earlier call.
    ForwardTail,
    ReceiveTail,
    PartialTail,
    SumTail,
    /// The rows of every source in channel 0 begin far behind the output's end.
    ReceiveBase,
    /// The rank counts a dispatch more than its peers, or a combine: all slots are of another call.
    DispatchCalls,
    CombineCalls,
}

/// Launches of a call: layout, exchange, dispatch, combine.
const LAUNCHES: u64 = 4;

/// A kernel that is under way when a cancel comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Under {
    Exchange,
    Dispatch,
    Combine,
}

impl Under {
    /// Number of its launch, in calls one after the other.
    fn launch(self, call: u32) -> u64 {
        u64::from(call) * LAUNCHES + 2 + self as u64
    }

    /// The word that says that it is under way, and the positions of what it sends, where it has them.
    fn marks(self) -> Option<(usize, usize, usize)> {
        match self {
            Under::Exchange => None,
            Under::Dispatch => Some((
                offset_of!(StateHead, dispatch_busy),
                offset_of!(CommBlock, dispatch_send_position),
                offset_of!(CommBlock, dispatch_forward_in),
            )),
            Under::Combine => Some((
                offset_of!(StateHead, combine_busy),
                offset_of!(CommBlock, combine_send_position),
                offset_of!(CommBlock, combine_forward_in),
            )),
        }
    }
}

/// How far arrivals run ahead.
const AHEAD: u64 = 2;
/// A row that no output has.
const FAR: u32 = 1 << 20;

impl Word {
    pub const ALL: [Word; 13] = [
        Word::DispatchBusy,
        Word::CombineBusy,
        Word::AbortedExchange,
        Word::AbortedDispatch,
        Word::AbortedCombine,
        Word::PlanHash,
        Word::ForwardTail,
        Word::ReceiveTail,
        Word::PartialTail,
        Word::SumTail,
        Word::ReceiveBase,
        Word::DispatchCalls,
        Word::CombineCalls,
    ];

    /// Number of the launch before which it changes, in calls one after the other.
    fn launch(self, call: u32) -> u64 {
        let within = match self {
            Word::DispatchBusy | Word::AbortedDispatch | Word::ReceiveBase | Word::DispatchCalls => 3,
            Word::CombineBusy | Word::AbortedCombine | Word::CombineCalls => 4,
            _ => 2,
        };
        u64::from(call) * LAUNCHES + within
    }

    /// Number of the launch that reads a word of arrivals.
    fn reader(self, call: u32) -> u64 {
        match self {
            Word::PartialTail | Word::SumTail => Under::Combine.launch(call),
            _ => Under::Dispatch.launch(call),
        }
    }

    /// Whether arrivals run ahead. It may go unnoticed: a tail that is stored again before anybody looks is right again.
    pub fn runs_ahead(self) -> bool {
        matches!(self, Word::ForwardTail | Word::ReceiveTail | Word::PartialTail | Word::SumTail)
    }

    /// Whether a line of the damaged rank says just what the damage is: nothing else may end its kernels first.
    pub fn is_named_by(self, line: &StatusLine, call: u32, hash: u64) -> bool {
        let bare = line.waits.is_empty();
        match (self, line.cause) {
            (Word::DispatchBusy | Word::CombineBusy, Cause::Overlap) => bare,
            (Word::AbortedExchange | Word::AbortedDispatch | Word::AbortedCombine, Cause::Aborted) => bare,
            // Its own hash is the wrong one.
            (Word::PlanHash, Cause::Disagree { expected, seen, .. }) => bare && expected == hash + 1 && seen == hash,
            (Word::ForwardTail | Word::ReceiveTail | Word::PartialTail | Word::SumTail, _) => is_stale(line, call),
            (Word::DispatchCalls | Word::CombineCalls, _) => is_of_call(line, call + 2, call + 1),
            _ => false,
        }
    }

    /// Whether it is told as an overflow, of which no kernel makes an end: all rows fit but those.
    pub fn overflows(self, need: u64, have: u64) -> bool {
        self == Word::ReceiveBase && need == have && need != 0
    }

    /// Whether a line of another rank may follow from it, but for waiting.
    pub fn reaches(self, line: &StatusLine, rank: u32, call: u32, hash: u64) -> bool {
        let other = Cause::Disagree { rank, expected: hash, seen: hash + 1 };
        match self {
            Word::PlanHash => line.cause == other && line.waits.is_empty(),
            Word::DispatchCalls | Word::CombineCalls => is_of_call(line, call + 1, call + 2),
            _ => false,
        }
    }
}

/// A slot of an earlier call, or of an earlier message of this one, named as such.
fn is_stale(line: &StatusLine, call: u32) -> bool {
    let number = u64::from(call) + 1;
    matches!(line.cause, Cause::StaleSlot { expected, seen, .. } if expected >> 32 == number && seen < expected)
}

/// A slot of call `seen` where one of call `expected` should be.
fn is_of_call(line: &StatusLine, expected: u32, seen: u32) -> bool {
    let numbers = (u64::from(expected), u64::from(seen));
    matches!(line.cause, Cause::StaleSlot { expected, seen, .. } if (expected >> 32, seen >> 32) == numbers)
}

/// What an allocation is for, by its size.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Asked {
    #[default]
    Other,
    Block,
    Handle,
}

/// What is to be done at one rank, and what is known of it.
#[derive(Debug, Default)]
pub struct Damage {
    due: Option<(u64, Word)>,
    /// Behind this launch, this much later.
    due_within: Option<(u64, Word, Duration)>,
    launches: u64,
    /// What the allocation under way may be for, all blocks of the right size so far, and the last handle.
    asked: Asked,
    blocks: Vec<u64>,
    handle: Option<u64>,
    /// A cancel behind this launch of this kernel, this much later.
    cancel: Option<(u64, Under, Duration)>,
    cancellers: Vec<Canceller>,
    done: bool,
    /// What the cluster said while the host let it run.
    fault: Option<String>,
}

impl Damage {
    /// Asks for it.
    pub fn plan(&mut self, word: Word, call: u32) {
        self.due = Some((word.launch(call), word));
    }

    /// Asks for it while the kernel runs that reads the word.
    pub fn plan_within(&mut self, word: Word, call: u32, later: Duration) {
        self.due_within = Some((word.reader(call), word, later));
    }

    /// Asks for a cancel of all ranks `later` than a launch.
    pub fn plan_cancel(&mut self, under: Under, call: u32, later: Duration, cancellers: Vec<Canceller>) {
        self.cancel = Some((under.launch(call), under, later));
        self.cancellers = cancellers;
    }

    pub fn is_done(&self) -> bool {
        self.done
    }

    /// What went wrong where nobody waited for the cluster.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }
}

/// What a launch has done so far.
#[derive(Debug, Default)]
struct Progress {
    is_marked: bool,
    calls: u64,
    positions: Vec<u64>,
}

/// Does the damage.
#[derive(Debug)]
pub struct Meddler {
    pub machine: EmuMachine,
    /// What the plan's hash is.
    pub hash: u64,
    /// Bytes of a handle.
    pub handle_bytes: u64,
    /// Whether launches under way are looked at: of one CTA, since of several the one that marks the launch may be the last;
    /// and not where a look would be a race or see an old value.
    pub looks: bool,
    pub damage: Arc<Mutex<Damage>>,
}

impl Meddler {
    fn word(&self, at: u64) -> Result<u64> {
        let mut word = [0; 8];
        let read = self.machine.with(|machine| machine.read_raw(at, &mut word));
        read.map(|()| u64::from_le_bytes(word)).map_err(|error| Error::Bug(format!("damage at {at:#x}: {error}")))
    }

    fn put(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let put = self.machine.with(|machine| machine.write(at, bytes));
        put.map_err(|error| Error::Bug(format!("damage at {at:#x}: {error}")))
    }

    /// Lets the cluster run, then cancels; what went wrong.
    fn cancel(
        &self,
        under: Under,
        later: Duration,
        blocks: &[u64],
        cancellers: &[Canceller],
    ) -> std::result::Result<(), String> {
        let told = |error: Error| error.to_string();
        let before = self.progress(under, blocks).map_err(told)?;
        self.run_for(later)?;
        let now = self.progress(under, blocks).map_err(told)?;
        // Who has sent has begun, and while its calls are as before it has not ended.
        if now.positions != before.positions && now.calls == before.calls && !now.is_marked {
            return Err(format!("status: a launch of {under:?} is under way and not marked as such"));
        }
        cancellers.iter().try_for_each(|canceller| canceller.cancel().map_err(told))
    }

    /// Lets the cluster run.
    fn run_for(&self, time: Duration) -> std::result::Result<(), String> {
        let run = self.machine.with(|machine| {
            let until = machine.time_ns() + time.as_nanos() as u64;
            machine.run(|machine| machine.time_ns() >= until).map(drop)
        });
        run.map_err(|fault| fault.to_string())
    }

    /// The block of constants of this rank.
    fn block(&self, blocks: &[u64]) -> Result<u64> {
        let is_block =
            |at: &&u64| self.word(*at + offset_of!(CommBlock, plan_hash) as u64).is_ok_and(|hash| hash == self.hash);
        blocks.iter().find(is_block).copied().ok_or_else(|| Error::Bug("no block of constants was found".into()))
    }

    /// What can be seen of a kernel's launches in the rank's state.
    fn progress(&self, under: Under, blocks: &[u64]) -> Result<Progress> {
        let Some((busy, first, end)) = under.marks().filter(|_| self.looks) else { return Ok(Progress::default()) };
        let comm = self.block(blocks)?;
        let field = |offset: usize| self.word(comm + offset as u64);
        let (state, first, end) = (field(offset_of!(CommBlock, state))?, field(first)?, field(end)?);
        // Ticket, left, busy, calls: two words each.
        let marks = self.word(state + busy as u64)?;
        let positions = (state + first..state + end).step_by(8).map(|at| self.word(at)).collect::<Result<_>>()?;
        Ok(Progress { is_marked: marks as u32 != 0, calls: marks >> 32, positions })
    }

    fn make(&self, word: Word, blocks: &[u64], handle: Option<u64>) -> Result<()> {
        let comm = self.block(blocks)?;
        let field = |offset: usize| self.word(comm + offset as u64);
        let state = field(offset_of!(CommBlock, state))?;
        let set = |offset: usize| self.put(state + offset as u64, &1u32.to_le_bytes());
        let (first, end) = match word {
            Word::DispatchBusy => return set(offset_of!(StateHead, dispatch_busy)),
            Word::CombineBusy => return set(offset_of!(StateHead, combine_busy)),
            Word::AbortedExchange | Word::AbortedDispatch | Word::AbortedCombine => {
                return set(offset_of!(StateHead, abort));
            }
            Word::DispatchCalls | Word::CombineCalls => {
                let calls = match word {
                    Word::DispatchCalls => offset_of!(StateHead, dispatch_calls),
                    _ => offset_of!(StateHead, combine_calls),
                };
                let at = state + calls as u64;
                return self.put(at, &(self.word(at)? as u32 + 1).to_le_bytes());
            }
            Word::PlanHash => {
                let other = self.hash + 1;
                return self.put(comm + offset_of!(CommBlock, plan_hash) as u64, &other.to_le_bytes());
            }
            Word::ReceiveBase => {
                let handle = handle.ok_or_else(|| Error::Bug("no handle was found".into()))?;
                let ranks = field(offset_of!(CommBlock, ranks))? as u32 as usize;
                let base = handle + field(offset_of!(CommBlock, receive_base))?;
                return self.put(base, &FAR.to_le_bytes().repeat(ranks));
            }
            Word::ForwardTail => {
                (offset_of!(CommBlock, dispatch_forward_tail), offset_of!(CommBlock, dispatch_send_head))
            }
            Word::ReceiveTail => {
                (offset_of!(CommBlock, dispatch_receive_tail), offset_of!(CommBlock, dispatch_receive_head))
            }
            Word::PartialTail => {
                (offset_of!(CommBlock, combine_partial_tail), offset_of!(CommBlock, combine_partial_head))
            }
            Word::SumTail => (offset_of!(CommBlock, combine_sum_tail), offset_of!(CommBlock, combine_send_head)),
        };
        let channels = field(offset_of!(CommBlock, channels))? & u64::from(u32::MAX);
        let (window, first, end) = (field(offset_of!(CommBlock, window))?, field(first)?, field(end)?);
        for at in (window + first..window + first + (end - first) / channels).step_by(8) {
            self.put(at, &(self.word(at)? + AHEAD).to_le_bytes())?;
        }
        Ok(())
    }
}

/// A launch of `pad`, by its size: several CTAs without shared memory.
fn is_pad(launch: &str) -> bool {
    launch.contains("shared 0 ") && !launch.contains("grid 1 ")
}

impl Hook for Meddler {
    fn before(&self, call: &'static str, arguments: fmt::Arguments<'_>) -> Result<()> {
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        match call {
            "alloc" => {
                let is = |bytes: u64| arguments.to_string() == format!("bytes {bytes}");
                damage.asked = match () {
                    () if is(CommBlock::BYTES as u64) => Asked::Block,
                    () if is(self.handle_bytes) => Asked::Handle,
                    () => Asked::Other,
                };
            }
            // Rows of zeros, where rows are by expert, are no launch to count.
            "launch" if is_pad(&arguments.to_string()) => return Ok(()),
            "launch" => {
                damage.launches += 1;
                if let Some((_, word)) = damage.due.filter(|(launch, _)| *launch == damage.launches) {
                    self.make(word, &damage.blocks, damage.handle)?;
                    damage.done = true;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn after(&self, call: &'static str, outcome: Outcome<'_>) {
        let Outcome::Gave(value) = outcome else { return };
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        if call == "launch" {
            let launches = damage.launches;
            if let Some((_, word, later)) = damage.due_within.take_if(|(launch, ..)| *launch == launches) {
                let (blocks, handle) = (damage.blocks.clone(), damage.handle);
                drop(damage);
                let made = self
                    .run_for(later)
                    .and_then(|()| self.make(word, &blocks, handle).map_err(|error| error.to_string()));
                damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
                (damage.done, damage.fault) = (true, made.err());
            }
            if let Some((_, under, later)) = damage.cancel.take_if(|(launch, ..)| *launch == launches) {
                let (cancellers, blocks) = (std::mem::take(&mut damage.cancellers), damage.blocks.clone());
                // The cancel comes by here again.
                drop(damage);
                let fault = self.cancel(under, later, &blocks, &cancellers).err();
                damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
                (damage.done, damage.fault) = (true, fault);
            }
            return;
        }
        if call != "alloc" {
            return;
        }
        let text = format!("{value:?}");
        let address = u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        match std::mem::take(&mut damage.asked) {
            Asked::Block => damage.blocks.extend(address),
            Asked::Handle => damage.handle = address,
            Asked::Other => {}
        }
    }
}
