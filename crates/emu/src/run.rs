//! The scheduler: one agent after another takes its turn, and time goes on when nobody can.

use crate::barrier;
use crate::bus::Port;
use crate::config::NicTurn;
use crate::copies::{self, Copy, CopyEnv, Way};
use crate::error::{Fault, FaultKind};
use crate::exec::{self, Env, Pace};
use crate::launch::RunOutcome;
use crate::machine::Machine;
use crate::memory::WarpRef;
use crate::program::FULL;
use crate::stall::StallCause;
use crate::time::Wake;
use crate::warp::{Cta, CtaState, GroupState, Happening};
use crate::Stall;
use std::cmp::Reverse;
use std::sync::Arc;
use warpferry_nic::{BusFaultReason, StepOutcome, Violation};

/// Someone who can act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    Warp(WarpRef),
    /// A bulk copy, by slot.
    Copy(u32),
    /// All NICs together; the network chooses among them.
    Nic,
}

/// Instructions of a turn in round robin.
const QUANTUM: u32 = 256;
/// Lengths of turns that a varied schedule draws from.
const QUANTA: [u32; 6] = [64, 1, 4, 16, 256, 1024];
/// Ways in which what one action of a NIC reads may be late.
const NIC_DRAWS: usize = 8;
/// Millionths of a round.
const TICKS_OF_ROUND: u64 = 1_000_000;
/// First time jump of a stall.
const FIRST_JUMP_NS: u64 = 1_000;

/// What one step of the machine did.
enum Step {
    Acted,
    /// Nobody can act, and no time that anyone waits for will come.
    Nothing,
}

impl Machine {
    /// Runs until `until` holds, or nothing is left to do, or nothing can move.
    ///
    /// A fault is returned once, by the run in which it happens; its GPU refuses everything afterwards, the others
    /// can be run on.
    pub fn run(&mut self, mut until: impl FnMut(&Machine) -> bool) -> Result<RunOutcome, Fault> {
        self.advance_streams();
        loop {
            if let Some(fault) = self.fresh_fault() {
                return Err(fault);
            }
            if until(self) {
                return Ok(RunOutcome::Reached);
            }
            if self.statistics.warp_instructions() >= self.config.limits.warp_instructions {
                return Ok(RunOutcome::Stalled(self.report(StallCause::InstructionLimit)));
            }
            match self.step() {
                Step::Acted => {}
                Step::Nothing if self.is_idle() => return Ok(RunOutcome::Idle),
                Step::Nothing => {
                    if let Some(outcome) = self.stall() {
                        return Ok(outcome);
                    }
                }
            }
        }
    }

    /// Runs until nothing is left to do.
    pub fn run_until_idle(&mut self) -> Result<RunOutcome, Fault> {
        self.run(|_| false)
    }

    /// What waits now, whether or not the machine is stalled.
    pub fn stall_report(&self) -> crate::StallReport {
        self.report(StallCause::Deadlock)
    }

    /// The first fault that no run has returned yet.
    pub(crate) fn fresh_fault(&mut self) -> Option<Fault> {
        self.fresh_faults.pop_front()
    }

    /// Nothing is queued, resident or under way.
    pub(crate) fn is_idle(&self) -> bool {
        let busy = |gpu: &crate::stream::Gpu| {
            gpu.fault.is_none() && gpu.streams.iter().flatten().any(|s| s.running.is_some() || !s.queue.is_empty())
        };
        !self.gpus.iter().any(busy)
    }

    /// One agent acts, or time goes on to the next event that is due.
    fn step(&mut self) -> Step {
        if !self.act() {
            return self.wait_for_time();
        }
        Step::Acted
    }

    /// One agent acts; false when none can.
    pub(crate) fn act(&mut self) -> bool {
        if self.clock.is_some() {
            return self.act_in_time();
        }
        self.queue_nic();
        if self.queue.is_empty() {
            return false;
        }
        let count = self.queue.len();
        let (queue, copies) = (&self.queue, &self.copies);
        let name = |index: usize| match queue[index] {
            Agent::Warp(warp) => warp.serial << 6 | u64::from(warp.warp),
            Agent::Copy(slot) => 1 << 62 | copies.number(slot),
            Agent::Nic => u64::MAX,
        };
        let agent = match self.choices.pick(count, name) {
            0 => self.queue.pop_front(),
            chosen => self.queue.swap_remove_front(chosen),
        };
        match agent {
            Some(Agent::Warp(warp)) => self.warp_turn(warp),
            Some(Agent::Copy(slot)) => self.copy_action(slot),
            Some(Agent::Nic) => self.nic_action(),
            None => {}
        }
        self.wake_watchers();
        self.wake_sleepers();
        true
    }

    /// Time passes by the work of one turn, shared by all who could work at the same time.
    fn pass_time(&mut self, instructions: u64) {
        if self.clock.is_some() {
            return;
        }
        if self.config.accounts {
            self.ticks += TICKS_OF_ROUND / (self.queue.len() as u64 + 1);
        }
        self.now_rest_ps += (instructions * 1000 / (self.queue.len() as u64 + 1)).max(1);
        self.now_ns = self.now_ns.saturating_add(self.now_rest_ps / 1000);
        self.now_rest_ps %= 1000;
    }

    fn pace(&mut self) -> Pace {
        if self.choices.explores() {
            return Pace { quantum: QUANTUM, spins: 16, blocks: true };
        }
        if !self.choices.varies() {
            return Pace { quantum: QUANTUM, spins: 16, blocks: false };
        }
        let quantum = QUANTA[self.choices.choose(QUANTA.len())];
        Pace { quantum, spins: [16, 1, 3, 64][self.choices.choose(4)], blocks: false }
    }

    pub(crate) fn warp_turn(&mut self, warp: WarpRef) {
        let Some(mut cta) = self.take_cta(warp) else { return };
        cta.warps[warp.warp as usize].queued = false;
        let pace = self.pace();
        let began = self.ticks;
        let mut meter = self.begin_turn(&cta.warps[warp.warp as usize]);
        let gpu = cta.state.shape.gpu;
        let mut sleeps = std::mem::take(&mut self.sleeps);
        let mut remote = Vec::new();
        let mut env = Env {
            memory: &mut self.memory,
            choices: &mut self.choices,
            network: &mut self.network,
            copies: &mut self.copies,
            statistics: &mut self.statistics.gpus[gpu],
            observer: &mut self.observer,
            race: &mut self.race,
            weak: &mut self.weak,
            raced: None,
            checks: self.config.checks,
            gpu,
            now_ns: self.now_ns,
            sleeps: &mut sleeps,
            ctas: &mut self.ctas,
            remote: &mut remote,
            meter: meter.as_deref_mut(),
        };
        let Cta { state, warps } = &mut *cta;
        let (instructions, result) = exec::turn(&mut env, state, &mut warps[warp.warp as usize], &pace);
        self.statistics.turns += 1;
        self.statistics.gpus[gpu].warp_instructions += instructions as u64;
        self.sleepers.extend(sleeps.drain(..).map(|until| Reverse((until, warp))));
        self.sleeps = sleeps;
        self.pass_time(instructions as u64);
        if let Some(meter) = meter {
            let sm = cta.state.sm;
            self.end_turn(gpu, sm, &mut cta.warps[warp.warp as usize], meter);
        }
        if self.config.accounts {
            let (copied, ended) = (!self.copies.issued.is_empty(), self.ticks);
            let warp = &mut cta.warps[warp.warp as usize];
            let asleep = warp.is_asleep();
            warp.tally.turn(began, ended, instructions.into(), copied, asleep);
        }
        let failed = result.err().map(|trouble| {
            let region = trouble.address.map(|address| match address >> 32 {
                0 if address > 0 => cta.state.describe_offset(),
                _ => self.memory.describe(address),
            });
            cta.state.fault(warp.warp, trouble, region)
        });
        let launch = cta.state.shape.id;
        for slot in std::mem::take(&mut self.copies.issued) {
            if let Some(state) = self.launches.get_mut(&launch.0) {
                state.copies += 1;
            }
            self.queue_copy(slot);
        }
        self.after_turn(cta, warp.warp, Wake::GoesOn);
        self.settle_remote(remote);
        if let Some(fault) = failed {
            self.kill(gpu, fault);
        }
        self.check_violations();
    }

    /// Takes a CTA out of its slot, if it is still the same one.
    fn take_cta(&mut self, warp: WarpRef) -> Option<Box<Cta>> {
        let slot = self.ctas.get_mut(warp.slot as usize)?;
        if slot.as_ref().is_some_and(|cta| cta.state.serial == warp.serial) {
            slot.take()
        } else {
            None
        }
    }

    /// Lets groups go that waited for what happened, queues the warps that can run, and ends the CTA when all threads
    /// have. `last` is the warp that ran.
    pub(crate) fn after_turn(&mut self, mut cta: Box<Cta>, last: u32, wake: Wake) {
        let mut next = 0;
        while next < cta.state.happened.len() {
            match cta.state.happened[next] {
                Happening::Phase(offset) => {
                    for warp in &mut cta.warps {
                        for group in &mut warp.groups {
                            if group.state == (GroupState::Mbarrier { offset }) {
                                group.state = GroupState::Ready;
                            }
                        }
                    }
                }
                Happening::Barrier { id, generation, outcome } => {
                    if let Some(race) = &mut self.race {
                        race.barrier_done(cta.state.race, id, generation);
                    }
                    for warp in &mut cta.warps {
                        barrier::release(&cta.state, warp, id, generation, outcome);
                    }
                }
                Happening::Exit => barrier::recheck(&mut cta.state),
                Happening::Cluster => {
                    for group in cta.warps.iter_mut().flat_map(|warp| &mut warp.groups) {
                        if group.state == GroupState::Cluster {
                            group.state = GroupState::Ready;
                        }
                    }
                }
            }
            next += 1;
        }
        if next > 0 {
            cta.state.happened.clear();
            self.memory.changes += 1;
            for index in 0..cta.warps.len() as u32 {
                if index != last {
                    self.queue_warp(&mut cta, index, Wake::Told);
                }
            }
        }
        self.queue_warp(&mut cta, last, wake);
        if cta.state.live_warps == 0 {
            self.end_cta(cta);
        } else {
            let slot = cta.state.slot as usize;
            self.ctas[slot] = Some(cta);
        }
    }

    /// Other CTAs to which something happened in a turn: their groups that waited for it go on.
    fn settle_remote(&mut self, slots: Vec<u32>) {
        for slot in slots {
            if let Some(cta) = self.ctas.get_mut(slot as usize).and_then(Option::take) {
                self.after_turn(cta, 0, Wake::Told);
            }
        }
    }

    /// Puts a warp into the queue if it can run and is not there.
    pub(crate) fn queue_warp(&mut self, cta: &mut Cta, index: u32, wake: Wake) {
        let warp = &mut cta.warps[index as usize];
        if !warp.queued && warp.exited != FULL && warp.is_ready() {
            warp.queued = true;
            let agent = cta.state.warp_ref(index);
            match &mut self.clock {
                None => self.queue.push_back(Agent::Warp(agent)),
                Some(clock) => clock.wake(agent, &warp.times, wake),
            }
        }
    }

    fn end_cta(&mut self, mut cta: Box<Cta>) {
        let shape = cta.state.shape.clone();
        if let Some(reason) = copies_left(&cta.state, self.config.checks.unawaited_copies) {
            let thread = cta.state.thread(0, 0);
            let fault = Fault {
                kind: FaultKind::Bulk(reason),
                gpu: shape.gpu,
                thread: Some(Box::new(thread)),
                location: None,
                address: Some(crate::SHARED_WINDOW),
                region: Some(self.memory.describe(crate::SHARED_WINDOW)),
            };
            self.kill(shape.gpu, fault);
            return;
        }
        for warp in &mut cta.warps {
            let me = cta.state.warp_ref(warp.index);
            warp.interval.unpark(me, &mut self.memory, &mut cta.state.shared);
        }
        let gpu = &mut self.gpus[shape.gpu];
        let sm = &mut gpu.sms[cta.state.sm];
        sm.ctas -= 1;
        sm.threads -= shape.threads();
        sm.shared_bytes -= shape.program.shared_bytes + shape.shared_bytes;
        gpu.resident -= 1;
        self.free_ctas.push(cta.state.slot);
        self.memory.changes += 1;
        if let Some(race) = &mut self.race {
            race.cta_ends(&cta.state);
        }
        if let Some(weak) = &mut self.weak {
            weak.cta_ends(cta.state.race);
        }
        self.statistics.gpus[shape.gpu].ctas += 1;
        if let Some(state) = self.launches.get_mut(&shape.id.0) {
            state.ended += 1;
            if let Some(account) = &mut state.account {
                cta.warps.iter().for_each(|warp| account.add(warp.index as usize, warp.tally.end(self.ticks)));
            }
        }
        self.place_ctas(shape.gpu);
        self.check_launch(shape.id);
    }

    pub(crate) fn copy_action(&mut self, slot: u32) {
        let Some(mut copy) = self.copies.take(slot) else { return };
        if copy.patience > 0 && !self.queue.is_empty() {
            copy.patience -= 1;
            self.copies.put_back(slot, copy);
            self.queue.push_back(Agent::Copy(slot));
            return;
        }
        let warp = copy.warp;
        let gpu = copy.shape.gpu;
        let mut cta = self.take_cta(warp);
        let mut spare = self.copies.take_spare();
        let mut remote = Vec::new();
        let mut env = CopyEnv {
            memory: &mut self.memory,
            statistics: &mut self.statistics.gpus[gpu],
            observer: &mut self.observer,
            race: &mut self.race,
            weak: &mut self.weak,
            choices: &mut self.choices,
            spare: &mut spare,
            ctas: &mut self.ctas,
            remote: &mut remote,
            content_bytes: content_bytes(&self.clock),
        };
        let result = copies::act(&mut env, &mut copy, cta.as_deref_mut());
        self.copies.return_spare(spare);
        self.pass_time(1);
        if let Some(cta) = cta {
            self.after_turn(cta, warp.warp, Wake::Told);
        }
        self.settle_remote(remote);
        match result {
            Ok(true) => self.copy_done(slot, &copy),
            Ok(false) if self.clock.is_some() => self.copy_writes_later(slot, copy),
            Ok(false) => {
                // What is read may be written much later.
                copy.patience = if self.choices.varies() { [0, 0, 4, 24][self.choices.choose(4)] } else { 0 };
                self.copies.put_back(slot, copy);
                self.queue.push_back(Agent::Copy(slot));
            }
            Err(fault) => {
                self.copies.finish(slot);
                self.kill(gpu, *fault);
            }
        }
    }

    fn copy_done(&mut self, slot: u32, copy: &Copy) {
        debug_assert!(!matches!(copy.way, Way::StoreRead { .. }), "a store that has only read is not done");
        self.copies.finish(slot);
        let id = copy.shape.id;
        if let Some(state) = self.launches.get_mut(&id.0) {
            state.copies -= 1;
        }
        self.check_launch(id);
    }

    /// Puts the NICs into the queue when one of them can act.
    fn queue_nic(&mut self) {
        if self.nic_queued {
            return;
        }
        self.network.advance(self.now_ns);
        if self.network.ready() > 0 {
            self.nic_queued = true;
            self.queue.push_back(Agent::Nic);
        }
    }

    fn nic_action(&mut self) {
        self.nic_queued = false;
        self.network.advance(self.now_ns);
        if let Some(weak) = &mut self.weak {
            // One choice for all that the action reads.
            weak.draw = match self.choices.late(NIC_DRAWS) {
                0 => 0,
                drawn => weak.draw.wrapping_add(drawn as u64) | 1 << 63,
            };
        }
        let mut port = Port {
            memory: &mut self.memory,
            ctas: &self.ctas,
            gpus_per_node: self.config.gpus_per_node,
            checks: self.config.checks,
            race: self.race.as_deref_mut(),
            weak: self.weak.as_deref_mut(),
            fault: None,
        };
        let steps = match self.config.nic_turn {
            NicTurn::One => 1,
            NicTurn::EveryQueue => self.network.ready(),
        };
        let mut done = 0;
        while done < steps && port.fault.is_none() {
            let StepOutcome::Did(_) = self.network.step(&mut port, &mut self.choices) else { break };
            done += 1;
        }
        let fault = port.fault.take();
        self.statistics.nic_actions += done as u64;
        self.memory.changes += done as u64;
        self.pass_time(1);
        if let Some(fault) = fault {
            self.kill(fault.gpu, fault);
        }
        self.check_violations();
    }

    /// A violation of the NIC's rules is a fault of the GPU that owns the NIC.
    pub(crate) fn check_violations(&mut self) {
        while self.violations_seen < self.network.violations().len() {
            let violation = &self.network.violations()[self.violations_seen];
            self.violations_seen += 1;
            let gpu = match violation {
                // The bus has reported the cause already.
                Violation::Memory { fault, .. } if fault.reason == BusFaultReason::Reported => continue,
                Violation::UnknownDoorbell { nic, .. } => nic.0 as usize,
                Violation::Memory { agent, .. } => agent.nic.0 as usize,
                Violation::DoorbellInReset { queue_pair }
                | Violation::DoorbellModifier { queue_pair, .. }
                | Violation::SendCounter { queue_pair, .. }
                | Violation::RecordBehindDoorbell { queue_pair, .. }
                | Violation::EntryPosition { queue_pair, .. }
                | Violation::EntryOfOther { queue_pair, .. }
                | Violation::EntryLength { queue_pair, .. }
                | Violation::Entry { queue_pair, .. }
                | Violation::EntryChanged { queue_pair, .. }
                | Violation::SourceChanged { queue_pair, .. }
                | Violation::CompletionOverrun { queue_pair, .. } => {
                    self.queue_pairs.get(&queue_pair.0).copied().unwrap_or(0)
                }
                _ => 0,
            };
            let kind = FaultKind::Nic(violation.to_string());
            self.kill(gpu, Fault { kind, gpu, thread: None, location: None, address: None, region: None });
        }
    }

    /// Warps that parked on words which were written can run.
    pub(crate) fn wake_watchers(&mut self) {
        while let Some(warp) = self.memory.woken.pop() {
            self.unpark(warp);
        }
    }

    pub(crate) fn unpark(&mut self, warp: WarpRef) {
        let Some(mut cta) = self.take_cta(warp) else { return };
        let Cta { state, warps } = &mut *cta;
        let parked = &mut warps[warp.warp as usize];
        let mut woke = false;
        for group in parked.groups.iter_mut().filter(|g| g.state == GroupState::Parked) {
            group.state = GroupState::Ready;
            woke = true;
        }
        if woke {
            parked.interval.unpark(warp, &mut self.memory, &mut state.shared);
        }
        self.queue_warp(&mut cta, warp.warp, Wake::Looks);
        self.ctas[warp.slot as usize] = Some(cta);
    }

    /// Groups whose sleep is over can run.
    pub(crate) fn wake_sleepers(&mut self) {
        let now_ns = self.now_ns;
        while let Some(&Reverse((until, warp))) = self.sleepers.peek() {
            if until > now_ns {
                return;
            }
            self.sleepers.pop();
            let Some(mut cta) = self.take_cta(warp) else { continue };
            for group in &mut cta.warps[warp.warp as usize].groups {
                if matches!(group.state, GroupState::Sleep { until_ns } if until_ns <= now_ns) {
                    group.state = GroupState::Ready;
                }
            }
            self.queue_warp(&mut cta, warp.warp, Wake::GoesOn);
            self.ctas[warp.slot as usize] = Some(cta);
        }
    }

    /// The next time that a sleeping warp or a NIC waits for.
    pub(crate) fn next_time(&self) -> Option<u64> {
        let sleep = self.sleepers.peek().map(|Reverse((until, _))| *until);
        [sleep, self.network.next_time()].into_iter().flatten().min()
    }

    /// Nobody can act: goes on to the end of the next sleep or the next time of a NIC.
    fn wait_for_time(&mut self) -> Step {
        let Some(next) = self.next_time() else { return Step::Nothing };
        self.set_time(self.now_ns.max(next));
        self.wake_sleepers();
        self.network.advance(self.now_ns);
        Step::Acted
    }

    /// Everything is parked or blocked: lets time jump and wakes all who wait for time or words. Gives the outcome
    /// when that has led to nothing too often.
    fn stall(&mut self) -> Option<RunOutcome> {
        self.statistics.stalls += 1;
        if self.memory.changes != self.changes_seen {
            self.changes_seen = self.memory.changes;
            self.stall_round = 0;
        }
        let hopeless = self.stall_round >= self.config.limits.stall_rounds;
        if hopeless || self.config.stall == Stall::Report {
            self.stall_round = 0;
            return Some(RunOutcome::Stalled(self.report(StallCause::Deadlock)));
        }
        self.set_time(self.now_ns.saturating_add(FIRST_JUMP_NS << self.stall_round.min(50)));
        self.stall_round += 1;
        if !self.wake_all() {
            return Some(RunOutcome::Stalled(self.report(StallCause::Deadlock)));
        }
        None
    }

    /// Wakes all who wait for words or for an mbarrier, so that they look at the time; false when there is nobody.
    pub(crate) fn wake_all(&mut self) -> bool {
        let mut woken = Vec::new();
        for cta in self.ctas.iter_mut().flatten() {
            let Cta { state, warps } = &mut **cta;
            for warp in warps {
                for group in &mut warp.groups {
                    match group.state {
                        GroupState::Parked => woken.push(state.warp_ref(warp.index)),
                        GroupState::Mbarrier { .. } => {
                            group.state = GroupState::Ready;
                            group.expired = true;
                            woken.push(state.warp_ref(warp.index));
                        }
                        _ => {}
                    }
                }
            }
        }
        let any = !woken.is_empty();
        for warp in woken {
            self.unpark(warp);
        }
        any
    }

    /// Ends everything that runs on a GPU; the fault stays.
    pub(crate) fn kill(&mut self, gpu: usize, fault: Fault) {
        self.memory.changes += 1;
        if self.gpus[gpu].fault.is_some() {
            return;
        }
        self.fresh_faults.push_back(fault.clone());
        if let Some(race) = &mut self.race {
            race.killed(gpu);
        }
        self.gpus[gpu].fault = Some(Arc::new(fault));
        for slot in 0..self.ctas.len() {
            if self.ctas[slot].as_ref().is_some_and(|cta| cta.state.shape.gpu == gpu) {
                if let Some(mut cta) = self.ctas[slot].take() {
                    for warp in &mut cta.warps {
                        let me = cta.state.warp_ref(warp.index);
                        warp.interval.unpark(me, &mut self.memory, &mut cta.state.shared);
                    }
                }
                self.free_ctas.push(slot as u32);
            }
        }
        self.copies.cancel(gpu);
        self.gpus[gpu].starting.clear();
        self.gpus[gpu].connections.clear();
        for stream in self.gpus[gpu].streams.iter_mut().flatten() {
            stream.queue.clear();
        }
    }
}

/// Most bytes of a copy whose contents are moved.
fn content_bytes(clock: &Option<Box<crate::time::Clock>>) -> usize {
    clock.as_ref().and_then(|clock| clock.timing.content_bytes).map_or(usize::MAX, |bytes| bytes as usize)
}

/// Why a CTA that ends leaves copies behind, if it does: what is under way counts always, what has landed unseen if asked.
fn copies_left(cta: &CtaState, unseen_counts: bool) -> Option<String> {
    if cta.copies > 0 {
        return Some(format!("the CTA ended while {} copies still use its shared memory", cta.copies));
    }
    let (mbarrier, _) = cta.unseen_loads.first().filter(|_| unseen_counts)?;
    Some(format!(
        "the CTA ended and no thread has seen its bulk loads end that report to the mbarrier at +{mbarrier:#x}: they may \
         still write shared memory"
    ))
}
