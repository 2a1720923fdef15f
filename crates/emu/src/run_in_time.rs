//! The scheduler of a machine whose parts have times: the earliest act comes next.

use crate::bus::Port;
use crate::copies::{Copy, Source, Way};
use crate::machine::Machine;
use crate::time::meter::Meter;
use crate::time::{Clock, Due, Place};
use crate::warp::Warp;
use warpferry_nic::{Act, QueuePairNumber, Ready, StepOutcome};

/// Picoseconds of a nanosecond.
const NANOSECOND_PS: u64 = 1000;

impl Machine {
    /// The next act; false when nobody will act.
    pub(crate) fn act_in_time(&mut self) -> bool {
        let Some(clock) = &mut self.clock else { return false };
        let sleep_ps = self.sleepers.peek().map(|sleeper| sleeper.0 .0.saturating_mul(NANOSECOND_PS));
        let due = match (sleep_ps, clock.next_ps()) {
            (Some(sleep_ps), next) if next.is_none_or(|next| sleep_ps <= next) => {
                clock.now_ps = clock.now_ps.max(sleep_ps);
                None
            }
            (_, Some(_)) => clock.take(),
            (_, None) => return false,
        };
        (self.now_ns, self.ticks) = (clock.now_ps / NANOSECOND_PS, clock.now_ps);
        match due {
            None => {}
            Some(Due::Warp(warp)) => self.warp_turn(warp),
            Some(Due::Copy(slot)) => self.copy_action(slot),
            Some(Due::Launch { gpu, stream, launch }) => self.begin_launch(gpu, stream, launch),
            Some(Due::Store(storage)) => {
                if let Some(meter) = &mut clock.meter {
                    meter.arrive(storage, &mut self.memory);
                }
            }
            Some(Due::Nic(queue, ready)) => self.nic_acts(queue, ready),
        }
        self.wake_watchers();
        self.wake_sleepers();
        true
    }

    /// Time jumps to `now_ns`.
    pub(crate) fn set_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        if let Some(clock) = &mut self.clock {
            clock.now_ps = clock.now_ps.max(now_ns.saturating_mul(NANOSECOND_PS));
            self.ticks = clock.now_ps;
        }
    }

    /// The meter for a warp's turn that begins now.
    pub(crate) fn begin_turn(&mut self, warp: &Warp) -> Option<Box<Meter>> {
        let clock = self.clock.as_mut()?;
        let mut meter = clock.meter.take()?;
        meter.begin(warp.times, clock.now_ps);
        Some(meter)
    }

    /// A warp's turn is over: what it sent is on its way, and it goes on when its work is done.
    pub(crate) fn end_turn(&mut self, gpu: usize, sm: usize, warp: &mut Warp, mut meter: Box<Meter>) {
        let Some(clock) = &mut self.clock else { return };
        warp.times = meter.times;
        warp.times.ready_ps = clock.turn_over(gpu, sm, warp.index, &meter);
        for (at_ps, storage) in meter.sent.drain(..) {
            clock.add(at_ps, Due::Store(storage));
        }
        let mut rung = Vec::new();
        for (at_ps, value) in meter.doorbells.drain(..) {
            let queue = warpferry_nic::Network::doorbell_queue(value);
            clock.rung(at_ps, queue);
            rung.push(queue);
        }
        clock.meter = Some(meter);
        for queue in rung {
            clock.look(&mut self.network, queue);
        }
    }

    /// A bulk copy that was issued acts when it has gone through the machine's parts.
    pub(crate) fn queue_copy(&mut self, slot: u32) {
        let Some(clock) = &mut self.clock else {
            self.queue.push_back(crate::run::Agent::Copy(slot));
            return;
        };
        let Some(mut copy) = self.copies.take(slot) else { return };
        let (gpu, sm, bytes, issued_ps) = (copy.shape.gpu, copy.sm, u64::from(copy.bytes), copy.issued_ps);
        let place = |address| Place::of(&self.memory, address, bytes);
        let at_ps = match copy.way {
            Way::Load { source: Source::Global(address), .. } => {
                place(address).map(|from| clock.bulk_load(gpu, sm, from, bytes, issued_ps))
            }
            Way::StoreRead { target, .. } => place(target).map(|to| {
                let (reads_ps, writes_ps) = clock.bulk_store(gpu, sm, to, bytes, issued_ps);
                copy.writes_ps = writes_ps;
                reads_ps
            }),
            Way::Load { .. } | Way::StoreWrite { .. } => None,
        };
        // Within shared memory, and what leads nowhere, which is told when it acts.
        let at_ps = at_ps.unwrap_or(issued_ps + clock.timing.gpu.bulk_ps);
        self.copies.put_back(slot, copy);
        clock.add(at_ps, Due::Copy(slot));
    }

    /// A bulk store has read its source.
    pub(crate) fn copy_writes_later(&mut self, slot: u32, copy: Copy) {
        let writes_ps = copy.writes_ps;
        self.copies.put_back(slot, copy);
        if let Some(clock) = &mut self.clock {
            clock.add(writes_ps.max(clock.now_ps), Due::Copy(slot));
        }
    }

    /// A queue pair does what its time has come for.
    fn nic_acts(&mut self, queue: QueuePairNumber, ready: Ready) {
        let Some(mut clock) = self.clock.take() else { return };
        clock.nic_acts(queue, ready);
        let mut port = Port {
            memory: &mut self.memory,
            ctas: &self.ctas,
            gpus_per_node: self.config.gpus_per_node,
            checks: self.config.checks,
            race: None,
            weak: None,
            fault: None,
        };
        let outcome = self.network.act(queue, ready, &mut port, &mut self.choices);
        let fault = port.fault.take();
        if let StepOutcome::Did(event) = outcome {
            self.statistics.nic_actions += 1;
            self.memory.changes += 1;
            clock.nic_acted(&self.network, &self.memory, queue, ready, event.act);
            self.look_again(&mut clock, queue, event.act);
        }
        self.clock = Some(clock);
        if let Some(fault) = fault {
            self.kill(fault.gpu, fault);
        }
        self.check_violations();
    }

    /// What queue pairs can do next, after one has acted. A failure is told to others too.
    fn look_again(&mut self, clock: &mut Clock, queue: QueuePairNumber, act: Act) {
        let failed = matches!(act, Act::Failed { .. } | Act::Completed { syndrome: 1.. });
        if !failed {
            return clock.look(&mut self.network, queue);
        }
        let mut all: Vec<u32> = self.queue_pairs.keys().copied().collect();
        all.sort_unstable();
        all.into_iter().for_each(|queue| clock.look(&mut self.network, QueuePairNumber(queue)));
    }
}
