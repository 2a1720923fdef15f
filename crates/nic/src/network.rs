//! The network: setting up, doorbells, and which queue pairs can act now.

use std::collections::BTreeSet;

use crate::config::{NetworkConfig, NicId, QueueConfig, QueuePair, QueuePairNumber, Rights};
use crate::counters::Counters;
use crate::error::{ConfigError, Failure, Violation};
use crate::fault::{FaultPlan, FaultState, FiredFault};
use crate::queue::{Action, Queue, QueueState};
use crate::region::{MemoryRegion, Regions};
use crate::wqe::{Header, DOORBELL_OFFSET_BYTES};

/// Devices, their memory registrations and queue pairs, and the wires between them.
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) config: NetworkConfig,
    pub(crate) nics: u32,
    pub(crate) regions: Regions,
    pub(crate) queues: Vec<Queue>,
    pub(crate) faults: FaultState,
    pub(crate) failures: Vec<Failure>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) violations_left_out: u64,
    pub(crate) schedule: Schedule,
}

/// Violations and failures that are kept; more are only counted.
pub(crate) const MAX_RECORDS: usize = 1024;

const FIRST_QUEUE_PAIR: u32 = 0x100;
const MAX_QUEUE_PAIRS: usize = (1 << 24) - FIRST_QUEUE_PAIR as usize;
const MAX_NICS: u32 = 1 << 20;

impl Network {
    /// A network without devices.
    pub fn new(config: NetworkConfig) -> Result<Network, ConfigError> {
        let ranges =
            [("max_write_piece_bytes", config.max_write_piece_bytes), ("max_outstanding", config.max_outstanding)];
        for (what, have) in ranges {
            if have == 0 {
                return Err(ConfigError::Range { what, have: 0, min: 1, max: u64::from(u32::MAX) });
            }
        }
        Ok(Network {
            config,
            nics: 0,
            regions: Regions::default(),
            queues: Vec::new(),
            faults: FaultState::default(),
            failures: Vec::new(),
            violations: Vec::new(),
            violations_left_out: 0,
            schedule: Schedule::default(),
        })
    }

    /// One more device.
    pub fn add_nic(&mut self) -> Result<NicId, ConfigError> {
        if self.nics == MAX_NICS {
            return Err(ConfigError::TooMany { what: "devices", limit: u64::from(MAX_NICS) });
        }
        self.nics += 1;
        Ok(NicId(self.nics - 1))
    }

    /// Registers memory with a device.
    pub fn register(
        &mut self,
        nic: NicId,
        address: u64,
        bytes: u64,
        rights: Rights,
    ) -> Result<MemoryRegion, ConfigError> {
        self.check_nic(nic)?;
        self.regions.register(nic, address, bytes, rights)
    }

    /// Takes a registration back. Work under way that needs it fails.
    pub fn deregister(&mut self, region: MemoryRegion) -> Result<(), ConfigError> {
        self.regions.deregister(region)
    }

    /// A queue pair, in state [`QueueState::Reset`].
    pub fn create_queue_pair(&mut self, nic: NicId, config: QueueConfig) -> Result<QueuePair, ConfigError> {
        self.check_nic(nic)?;
        config.check()?;
        if self.queues.len() >= MAX_QUEUE_PAIRS {
            return Err(ConfigError::TooMany { what: "queue pairs", limit: MAX_QUEUE_PAIRS as u64 });
        }
        let number = QueuePairNumber(FIRST_QUEUE_PAIR + self.queues.len() as u32);
        self.queues.push(Queue::new(number, nic, config));
        self.schedule.add();
        Ok(QueuePair { number, nic, doorbell_offset_bytes: DOORBELL_OFFSET_BYTES })
    }

    /// Ends a queue pair: its number is gone for good, a connected peer's requests fail.
    pub fn destroy_queue_pair(&mut self, number: QueuePairNumber) -> Result<(), ConfigError> {
        let queue = self.find(number)?;
        self.queues[queue].reset();
        self.queues[queue].live = false;
        self.update(queue);
        Ok(())
    }

    /// Connects two queue pairs; both must be in state [`QueueState::Reset`].
    pub fn connect(&mut self, a: QueuePairNumber, b: QueuePairNumber) -> Result<(), ConfigError> {
        if a == b {
            return Err(ConfigError::ConnectedToItself { queue_pair: a });
        }
        let (first, second) = (self.find(a)?, self.find(b)?);
        for queue in [first, second] {
            let have = self.queues[queue].state;
            if have != QueueState::Reset {
                return Err(ConfigError::State {
                    queue_pair: self.queues[queue].number,
                    have,
                    need: QueueState::Reset,
                });
            }
        }
        for (queue, peer) in [(first, second), (second, first)] {
            self.queues[queue].state = QueueState::ReadyToSend;
            self.queues[queue].peer = Some(peer);
        }
        Ok(())
    }

    /// Takes a queue pair to state [`QueueState::Reset`]: what it had under way is dropped, its
    /// counters are 0 as must be those in memory, and a connected peer's requests fail.
    pub fn reset(&mut self, number: QueuePairNumber) -> Result<(), ConfigError> {
        let queue = self.find(number)?;
        self.queues[queue].reset();
        self.update(queue);
        Ok(())
    }

    /// A doorbell was stored: the 8 bytes as a little-endian load gives them, which are the first
    /// 8 bytes of the last entry posted. The short form, without segments and with the send counter
    /// in the place of the position, is accepted as well.
    pub fn doorbell(&mut self, nic: NicId, value: u64) {
        let header = Header::decode(value.to_le_bytes());
        let found = self.find(header.queue_pair);
        let queue = match found {
            Ok(queue) if self.queues[queue].nic == nic => queue,
            _ => {
                let queue_pair = header.queue_pair;
                return self.violate(Violation::UnknownDoorbell { nic, queue_pair });
            }
        };
        if self.queues[queue].state == QueueState::Reset {
            let queue_pair = header.queue_pair;
            return self.violate(Violation::DoorbellInReset { queue_pair });
        }
        if header.modifier != 0 {
            let (queue_pair, modifier) = (header.queue_pair, header.modifier);
            return self.violate(Violation::DoorbellModifier { queue_pair, modifier });
        }
        if let Err(violation) = self.queues[queue].ring(header.end_position()) {
            return self.violate(violation);
        }
        if !self.schedule.is_listed(queue) {
            self.pace(queue);
        }
        self.update(queue);
    }

    /// Address of the doorbell record of the queue pair that a doorbell of this value names.
    pub fn doorbell_record(&self, value: u64) -> Option<u64> {
        let queue = self.find(Header::decode(value.to_le_bytes()).queue_pair).ok()?;
        Some(self.queues[queue].config.doorbell_record_address)
    }

    /// The queue pair that a doorbell of this value names.
    pub fn doorbell_queue(value: u64) -> QueuePairNumber {
        Header::decode(value.to_le_bytes()).queue_pair
    }

    /// The send counter that a doorbell of this value names: where its entry ends.
    pub fn doorbell_counter(value: u64) -> u16 {
        Header::decode(value.to_le_bytes()).end_position()
    }

    /// Lets a queue pair start no sooner than `ticks` after its doorbell, and do its next act no
    /// sooner than `ticks` after the last. 0 takes the delay away.
    pub fn set_delay(&mut self, number: QueuePairNumber, ticks: u64) -> Result<(), ConfigError> {
        let queue = self.find(number)?;
        self.queues[queue].delay_ticks = ticks;
        Ok(())
    }

    /// Keeps a queue pair from acting before `time`.
    pub fn hold_until(&mut self, number: QueuePairNumber, time: u64) -> Result<(), ConfigError> {
        let queue = self.find(number)?;
        self.queues[queue].not_before = time;
        self.update(queue);
        Ok(())
    }

    /// Tells the time, in ticks of the caller's choice. It does not go back.
    pub fn advance(&mut self, now: u64) {
        self.schedule.advance(now);
    }

    /// The time at which the next delayed queue pair can act; none when nothing is delayed.
    pub fn next_time(&self) -> Option<u64> {
        self.schedule.delayed.first().map(|&(time, _)| time)
    }

    /// How many queue pairs can act now. 0 does not mean that nothing is delayed.
    pub fn ready(&self) -> usize {
        self.schedule.ready.len()
    }

    /// Sets the faults to come; the counting starts anew.
    pub fn set_faults(&mut self, plan: FaultPlan) {
        self.faults = FaultState::new(plan);
    }

    /// The faults that fired.
    pub fn fired(&self) -> &[FiredFault] {
        &self.faults.fired
    }

    /// Work requests that failed, without those flushed: the first 1024.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// What must not have happened: the first 1024, see [`Network::violations_left_out`].
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Violations beyond those kept.
    pub fn violations_left_out(&self) -> u64 {
        self.violations_left_out
    }

    /// A queue pair's state.
    pub fn state(&self, number: QueuePairNumber) -> Result<QueueState, ConfigError> {
        Ok(self.queues[self.find(number)?].state)
    }

    /// Entries that a queue pair has fetched and not retired.
    pub fn outstanding(&self, number: QueuePairNumber) -> Result<usize, ConfigError> {
        Ok(self.queues[self.find(number)?].window.len())
    }

    /// Queue pairs that a planned fault stalled.
    pub fn stalled(&self) -> impl Iterator<Item = QueuePairNumber> + '_ {
        let stalled = |queue: &&Queue| queue.window.iter().any(|entry| entry.stalled);
        self.queues.iter().filter(stalled).map(|queue| queue.number)
    }

    /// What a queue pair did.
    pub fn counters(&self, number: QueuePairNumber) -> Result<Counters, ConfigError> {
        Ok(self.queues[self.find(number)?].counters)
    }

    /// What a device did: the sum over its queue pairs, destroyed ones too.
    pub fn nic_counters(&self, nic: NicId) -> Result<Counters, ConfigError> {
        self.check_nic(nic)?;
        let mut sum = Counters::default();
        for queue in self.queues.iter().filter(|queue| queue.nic == nic) {
            sum.add(&queue.counters);
        }
        Ok(sum)
    }

    /// The behaviour that it was made with.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    pub(crate) fn violate(&mut self, violation: Violation) {
        if self.violations.len() < MAX_RECORDS {
            self.violations.push(violation);
        } else {
            self.violations_left_out += 1;
        }
    }

    /// Starts a queue pair's delay.
    pub(crate) fn pace(&mut self, queue: usize) {
        let state = &mut self.queues[queue];
        if state.delay_ticks > 0 {
            let time = self.schedule.now.saturating_add(state.delay_ticks);
            state.not_before = state.not_before.max(time);
        }
    }

    /// Lists a queue pair where it belongs, after anything about it changed.
    pub(crate) fn update(&mut self, queue: usize) {
        let state = &self.queues[queue];
        state.actions(&self.config, &mut self.schedule.actions);
        let can_act = !self.schedule.actions.is_empty();
        self.schedule.list(queue, can_act.then_some(state.not_before));
    }

    fn check_nic(&self, nic: NicId) -> Result<(), ConfigError> {
        if nic.0 < self.nics {
            return Ok(());
        }
        let nics = self.nics;
        Err(ConfigError::UnknownNic { nic, nics })
    }

    pub(crate) fn find(&self, queue_pair: QueuePairNumber) -> Result<usize, ConfigError> {
        queue_pair
            .0
            .checked_sub(FIRST_QUEUE_PAIR)
            .map(|index| index as usize)
            .filter(|&index| self.queues.get(index).is_some_and(|queue| queue.live))
            .ok_or(ConfigError::UnknownQueuePair { queue_pair })
    }
}

/// Which queue pairs can act, and which can later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schedule {
    now: u64,
    ready: Vec<usize>,
    delayed: BTreeSet<(u64, usize)>,
    listed: Vec<Listed>,
    /// Where the plain choice goes on, so that it takes turns.
    turn: usize,
    /// Kept for its memory.
    pub(crate) actions: Vec<Action>,
}

/// Where a queue pair is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    No,
    /// At this place of the ready list.
    Ready(usize),
    /// Until this time.
    Delayed(u64),
}

impl Schedule {
    fn add(&mut self) {
        self.listed.push(Listed::No);
    }

    fn is_listed(&self, queue: usize) -> bool {
        self.listed[queue] != Listed::No
    }

    fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
        while let Some(&(time, queue)) = self.delayed.first() {
            if time > self.now {
                break;
            }
            self.list(queue, Some(time));
        }
    }

    /// Lists a queue pair as able to act from a time on, or not at all.
    fn list(&mut self, queue: usize, from: Option<u64>) {
        let wanted = from.map(|time| (time, time <= self.now));
        match (self.listed[queue], wanted) {
            (Listed::Ready(_), Some((_, true))) | (Listed::No, None) => return,
            (Listed::Ready(place), _) => {
                self.ready.swap_remove(place);
                if let Some(&moved) = self.ready.get(place) {
                    self.listed[moved] = Listed::Ready(place);
                }
            }
            (Listed::Delayed(time), _) => {
                self.delayed.remove(&(time, queue));
            }
            (Listed::No, Some(_)) => {}
        }
        self.listed[queue] = match wanted {
            None => Listed::No,
            Some((_, true)) => {
                self.ready.push(queue);
                Listed::Ready(self.ready.len() - 1)
            }
            Some((time, false)) => {
                self.delayed.insert((time, queue));
                Listed::Delayed(time)
            }
        };
    }

    /// The queue pair for a choice; 0 is the one whose turn it is.
    pub(crate) fn choose(&mut self, pick: impl FnOnce(usize) -> usize) -> Option<usize> {
        if self.ready.is_empty() {
            return None;
        }
        let place = (self.turn + pick(self.ready.len())) % self.ready.len();
        self.turn = (place + 1) % self.ready.len();
        Some(self.ready[place])
    }
}
