//! What a communicator and its pending operations share: memory, kernels, and the list of calls under way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::constants::Lane;
use super::landing::{Range, Zone};
use super::nic::RankNic;
use super::Traffic;
use crate::driver::{AccessRule, Driver, EventId, StreamId, Wait};
use crate::error::{Error, Result};
use crate::fabric::Nic;
use crate::kernel::args;
use crate::kernel::launch::Kernel;
use crate::load::LoadStatistics;
use crate::mem::stream::Stream;
use crate::mem::{Buffer, DevicePtr, HostBuffer, Tensor};
use crate::op::Keep;
use crate::plan::blocks::{StateHead, TotalsHead, STATUS_LINE_BYTES};
use crate::plan::Plan;
use crate::status::{Cause, Source, StatusReport};

/// Longest that setting up or tearing down waits for copies of the communicator's own.
const SETUP_TIMEOUT: Duration = Duration::from_secs(60);
/// Status lines of a dispatch before those of its CTAs: layout and exchange.
pub(crate) const PRELUDE_LINES: u32 = 2;

/// The kernels of a communicator.
#[derive(Debug)]
pub(crate) struct Functions {
    pub layout: Kernel<args::Layout>,
    pub exchange: Kernel<args::Exchange>,
    /// Where rows are by expert.
    pub pad: Option<Kernel<args::Pad>>,
    pub dispatch: Kernel<args::Dispatch>,
    pub combine: Kernel<args::Combine>,
}

/// Device memory of a communicator.
#[derive(Debug)]
#[allow(dead_code)] // most is held, not looked at
pub(crate) struct Memory {
    /// Before the window: NICs reach into it.
    pub nic: Option<RankNic>,
    pub window: Arc<Buffer>,
    /// Where rows land by themselves, a part of the window.
    pub landing: Option<Arc<Zone>>,
    /// Tensors over its load statistics hold it too.
    pub state: Arc<Buffer>,
    pub comm: Buffer,
    pub dispatch: Buffer,
    pub combine: Buffer,
    /// Windows of the node, windows of the rail, queue pairs.
    pub tables: [Buffer; 3],
    /// Mappings of other ranks' windows.
    pub imported: Vec<DevicePtr>,
}

impl Memory {
    fn reach(&self) -> Vec<AccessRule> {
        let rule = |address, bytes, read, write| AccessRule { address, bytes, read, write };
        let whole = |buffer: &Buffer, write| rule(buffer.ptr(), buffer.bytes(), true, write);
        let mut rules = vec![whole(&self.window, true), whole(&self.state, true), whole(&self.comm, false)];
        // Windows have one size on all ranks.
        rules.extend(self.imported.iter().map(|&ptr| rule(ptr, self.window.bytes(), true, true)));
        rules.extend([&self.dispatch, &self.combine].map(|block| whole(block, false)));
        rules.extend(self.tables.iter().map(|table| whole(table, false)));
        rules.extend(self.nic.iter().flat_map(RankNic::reach));
        rules.retain(|rule| rule.bytes > 0);
        rules
    }
}

/// What the kernels of an operation say, and where.
#[derive(Debug)]
pub(crate) struct Report {
    pub op: &'static str,
    pub status: HostBuffer,
    pub parts: Vec<StatusPart>,
    pub counts: Counts,
}

/// Where the numbers of rows of an operation come from.
#[derive(Debug, Clone)]
pub(crate) enum Counts {
    /// It has none.
    None,
    /// Its exchange says them, and its handle learns them when it has ended; there is room for so many.
    Exchange(Arc<Known>, usize),
    /// Its handle knows them, or will before it has ended; likewise.
    Handle(Arc<Known>, usize),
}

/// What the last exchange of a handle that has ended said.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Option<Totals>>);

impl Known {
    pub fn set(&self, totals: Totals) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(totals);
    }

    pub fn get(&self) -> Option<Totals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A call whose kernels were launched.
#[derive(Debug)]
struct Call {
    op: &'static str,
    /// Reached at its end; its own until the call is forgotten.
    event: EventId,
    /// Longest that the host waits for it.
    patience: Duration,
    keep: Option<Keep>,
    outcome: Option<Result<Outcome>>,
    abandoned: bool,
}

/// How a call went to its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// Rows were dropped for want of room.
    pub overflow: Option<Error>,
    /// Numbers of rows by operation.
    pub totals: Vec<Option<Totals>>,
}

/// A range of lines in a status block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusPart {
    pub source: Source,
    pub first: u32,
    pub lines: u32,
}

/// Names a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

#[derive(Debug, Default)]
struct Calls {
    broken: Option<Error>,
    calls: BTreeMap<Ticket, Call>,
    /// Calls whose end was not seen yet, in stream order.
    open: VecDeque<Ticket>,
    next: u64,
    free_status: Vec<HostBuffer>,
    free_events: Vec<EventId>,
    /// What calls used that failed after a launch: their kernels may still come to it.
    strays: Vec<Keep>,
}

/// The heart of a communicator.
#[derive(Debug)]
pub(crate) struct Shared {
    pub id: u64,
    pub rank: u32,
    pub plan: Plan,
    pub driver: Arc<dyn Driver>,
    pub stream: Arc<Stream>,
    control: Arc<Stream>,
    pub nic: Option<Arc<dyn Nic>>,
    pub functions: Functions,
    memory: Mutex<Option<Memory>>,
    pub addresses: BlockAddresses,
    /// What every kernel may touch besides its arguments' memory: blocks, tables, windows, queues, doorbells.
    pub reach: Vec<AccessRule>,
    calls: Mutex<Calls>,
}

/// Where the constant blocks lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockAddresses {
    pub comm: DevicePtr,
    pub dispatch: DevicePtr,
    pub combine: DevicePtr,
    pub window: DevicePtr,
    pub state: DevicePtr,
}

/// Waits for a stream that holds only the host's own copies.
pub(crate) fn synchronize(driver: &Arc<dyn Driver>, stream: StreamId, rank: u32) -> Result<()> {
    quiet(driver, stream, rank, SETUP_TIMEOUT)
}

/// Waits until a stream has run dry.
pub(crate) fn quiet(driver: &Arc<dyn Driver>, stream: StreamId, rank: u32, timeout: Duration) -> Result<()> {
    match driver.synchronize(stream, timeout)? {
        Wait::Done => Ok(()),
        Wait::TimedOut => {
            let waited_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            Err(Error::WaitTimeout { op: "set up or close", rank, waited_ms })
        }
    }
}

/// What an exchange tells the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Rows that are delivered.
    pub rows: usize,
    /// Tokens that come.
    pub rank_rows: usize,
    /// (token, choice) pairs of each local expert.
    pub expert_counts: Vec<u32>,
}

impl Totals {
    /// Reads a [`TotalsHead`] and the counts behind it.
    fn parse(bytes: &[u8]) -> Result<Totals> {
        let word = |at: usize| {
            let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
            word.map(|word| u32::from_le_bytes(*word)).ok_or_else(|| Error::Bug("totals are cut short".into()))
        };
        Ok(Totals {
            rows: word(std::mem::offset_of!(TotalsHead, rows))? as usize,
            rank_rows: word(std::mem::offset_of!(TotalsHead, rank_rows))? as usize,
            expert_counts: (TotalsHead::BYTES..bytes.len()).step_by(4).map(word).collect::<Result<Vec<_>>>()?,
        })
    }
}

impl Shared {
    #[allow(clippy::too_many_arguments)] // made in one place, from parts with types of their own
    pub(super) fn new(
        rank: u32,
        plan: Plan,
        driver: Arc<dyn Driver>,
        stream: Arc<Stream>,
        control: Arc<Stream>,
        nic: Option<Arc<dyn Nic>>,
        functions: Functions,
        memory: Memory,
    ) -> Arc<Shared> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let addresses = BlockAddresses {
            comm: memory.comm.ptr(),
            dispatch: memory.dispatch.ptr(),
            combine: memory.combine.ptr(),
            window: memory.window.ptr(),
            state: memory.state.ptr(),
        };
        let reach = memory.reach();
        Arc::new(Shared {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            rank,
            plan,
            driver,
            stream,
            control,
            nic,
            functions,
            memory: Mutex::new(Some(memory)),
            addresses,
            reach,
            calls: Mutex::default(),
        })
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Option<Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows of the landing zone; `None` where there is none, or not so many are free.
    pub fn landing_rows(&self, rows: usize) -> Option<Arc<Range>> {
        self.memory().as_ref()?.landing.as_ref()?.take(rows)
    }

    /// Row of the landing zone that `rows`, output of a dispatch, begins with; `None` where it lies elsewhere.
    pub fn landing_row(&self, rows: &Tensor) -> Option<u32> {
        let zone = self.addresses.window.address() + self.plan.window.landing_x;
        let row = rows.ptr().address().checked_sub(zone)? / u64::from(self.plan.shape.dispatch_row_bytes());
        u32::try_from(row).ok().filter(|&row| row < self.plan.landing().rows())
    }

    /// Fails when an earlier call broke the communicator, noticing calls that have ended.
    pub fn check_usable(&self) -> Result<()> {
        self.settle()?;
        match &self.calls().broken {
            Some(cause) => Err(Error::Broken { rank: self.rank, cause: Box::new(cause.clone()) }),
            None => Ok(()),
        }
    }

    /// Keeps `error` as the cause of the communicator's end and lets its kernels leave.
    pub fn fail(&self, error: &Error) {
        let first = {
            let mut calls = self.calls();
            let first = calls.broken.is_none();
            calls.broken.get_or_insert_with(|| error.clone());
            first
        };
        if first {
            if let Err(cause) = self.cancel() {
                tracing::warn!(rank = self.rank, %cause, "kernels could not be told to leave; their deadline ends them");
            }
        }
    }

    /// Tells this rank's kernels to leave; after the close there are none, and the memory may be another's.
    pub fn cancel(&self) -> Result<()> {
        // Held until the copy is in its stream, so that a close comes before it or waits for it.
        let memory = self.memory();
        if memory.is_none() {
            return Ok(());
        }
        let offset = std::mem::offset_of!(StateHead, cancel) as u64;
        // A word of its own kind: a copy is no access that kernels may meet.
        self.driver.write_word(self.addresses.state.offset(offset), 1, self.control.id())
    }

    /// Lets what `later` does next wait for what `earlier` holds now.
    pub fn order(&self, earlier: StreamId, later: StreamId) -> Result<()> {
        let event = self.driver.create_event()?;
        let ordered =
            self.driver.record_event(event, earlier).and_then(|()| self.driver.stream_wait_event(later, event));
        self.driver.destroy_event(event)?;
        ordered
    }

    /// A zeroed status block.
    pub fn take_status(&self) -> Result<HostBuffer> {
        let free = self.calls().free_status.pop();
        match free {
            Some(block) => block.clear().map(|()| block),
            None => HostBuffer::zeroed(&self.driver, self.status_bytes()),
        }
    }

    /// A status block with anything in it.
    pub fn take_block(&self) -> Result<HostBuffer> {
        let free = self.calls().free_status.pop();
        free.map_or_else(|| HostBuffer::zeroed(&self.driver, self.status_bytes()), Ok)
    }

    /// Size of a status block: a line for every CTA of the larger launch and for the prelude, then totals.
    pub fn status_bytes(&self) -> u64 {
        self.totals_at() + self.totals_bytes()
    }

    /// Where totals of an exchange are in a status block.
    pub fn totals_at(&self) -> u64 {
        let lines = PRELUDE_LINES + self.plan.dispatch.sms.max(self.plan.combine.sms);
        u64::from(lines) * STATUS_LINE_BYTES as u64
    }

    /// Their bytes.
    pub fn totals_bytes(&self) -> u64 {
        TotalsHead::BYTES as u64 + 4 * u64::from(self.plan.shape.experts_per_rank(self.plan.topology))
    }

    /// What an exchange that has ended says in a status block.
    pub fn totals(&self, status: &HostBuffer) -> Result<Totals> {
        let totals = Totals::parse(&status.read(self.totals_at(), self.totals_bytes())?)?;
        let most = u64::from(self.plan.topology.ranks()) * u64::from(self.plan.shape.max_tokens());
        match totals.rank_rows as u64 > most {
            true => Err(Error::Bug(format!("exchange gave {} rows; at most {most} can arrive", totals.rank_rows))),
            false => Ok(totals),
        }
    }

    /// What `parts` of a status block say.
    pub fn report(&self, status: &HostBuffer, parts: &[StatusPart]) -> Result<Option<StatusReport>> {
        let line = STATUS_LINE_BYTES as u64;
        let mut whole: Option<StatusReport> = None;
        for part in parts {
            let area = status.read(u64::from(part.first) * line, u64::from(part.lines) * line)?;
            let report = StatusReport::parse(&area, part.source, self.rank, self.plan.topology);
            whole = match (whole, report) {
                (Some(mut first), Some(next)) => {
                    first.lines.extend(next.lines);
                    Some(first)
                }
                (first, next) => first.or(next),
            };
        }
        if let Some(report) = &mut whole {
            if report.lines.iter().any(|line| line.cause != Cause::Aborted) {
                report.lines.retain(|line| line.cause != Cause::Aborted);
            }
        }
        Ok(whole)
    }

    /// An event for the end of a call: taken before its first launch.
    pub fn take_event(&self) -> Result<EventId> {
        let free = self.calls().free_events.pop();
        free.map_or_else(|| self.driver.create_event(), Ok)
    }

    /// Nobody looks at the event any more.
    fn give_event(&self, event: EventId) {
        if self.memory().is_some() {
            return self.calls().free_events.push(event);
        }
        if let Err(error) = self.driver.destroy_event(event) {
            tracing::warn!(event = event.0, %error, "an event could not be ended");
        }
    }

    /// Ends a call after its launches, or after what it launched before an error: what its kernels use is kept until they
    /// have ended.
    pub fn begin(
        &self,
        op: &'static str,
        event: EventId,
        keep: Keep,
        patience: Duration,
        launched: Result<()>,
    ) -> Result<Ticket> {
        if let Err(error) = launched.and_then(|()| self.driver.record_event(event, self.stream.id())) {
            // From the first launch on peers count on this rank: the kernels and the communicator must end.
            self.calls().strays.push(keep);
            self.give_event(event);
            self.fail(&error);
            return Err(error);
        }
        let mut calls = self.calls();
        let ticket = Ticket(calls.next);
        calls.next += 1;
        let call = Call { op, event, patience, keep: Some(keep), outcome: None, abandoned: false };
        calls.calls.insert(ticket, call);
        calls.open.push_back(ticket);
        Ok(ticket)
    }

    /// Takes the outcome of every call whose kernels have ended.
    fn settle(&self) -> Result<()> {
        loop {
            let front = {
                let calls = self.calls();
                calls.open.front().and_then(|ticket| calls.calls.get(ticket).map(|call| (*ticket, call.event)))
            };
            match front {
                Some((ticket, event)) if self.driver.is_reached(event)? => self.finish(ticket),
                _ => return Ok(()),
            }
        }
    }

    /// Waits for a call.
    pub fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Wait> {
        let Some(event) = self.open_event(ticket) else { return Ok(Wait::Done) };
        match self.driver.synchronize_event(event, timeout) {
            Ok(Wait::Done) => {
                // The stream runs in order: every earlier call has ended too.
                while let Some(front) = self.open_front(ticket) {
                    self.finish(front);
                }
                Ok(Wait::Done)
            }
            Ok(Wait::TimedOut) => Ok(Wait::TimedOut),
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }

    /// Waits until every call so far has ended, each as long as its own timeout allows.
    pub fn wait_earlier(&self) -> Result<()> {
        let earlier: Vec<_> = {
            let calls = self.calls();
            let open = calls.open.iter();
            open.filter_map(|ticket| calls.calls.get(ticket).map(|call| (*ticket, call.op, call.patience))).collect()
        };
        for (ticket, op, patience) in earlier {
            if self.wait(ticket, patience)? == Wait::TimedOut {
                let waited_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
                return Err(Error::WaitTimeout { op, rank: self.rank, waited_ms });
            }
        }
        Ok(())
    }

    /// Whether a call has ended.
    pub fn is_done(&self, ticket: Ticket) -> Result<bool> {
        self.settle()?;
        Ok(self.open_event(ticket).is_none())
    }

    fn open_event(&self, ticket: Ticket) -> Option<EventId> {
        self.calls().calls.get(&ticket).filter(|call| call.outcome.is_none()).map(|call| call.event)
    }

    fn open_front(&self, last: Ticket) -> Option<Ticket> {
        self.calls().open.front().copied().filter(|&front| front <= last)
    }

    /// Reads the status of a call whose kernels have ended.
    fn finish(&self, ticket: Ticket) {
        let taken = {
            let mut calls = self.calls();
            calls.open.retain(|&open| open != ticket);
            calls.calls.get_mut(&ticket).and_then(|call| call.keep.take())
        };
        let Some(mut keep) = taken else { return };
        let outcome = self.outcome(&keep.reports);
        if let Err(error) = &outcome {
            self.fail(error);
        }
        let abandoned = {
            let mut calls = self.calls();
            calls.free_status.extend(keep.reports.drain(..).map(|report| report.status));
            calls.calls.get_mut(&ticket).is_some_and(|call| {
                call.outcome = Some(outcome);
                call.abandoned
            })
        };
        if abandoned {
            self.forget(ticket);
        }
        // Without the lock: what callers lent may do what it likes when it goes.
        drop(keep);
    }

    fn forget(&self, ticket: Ticket) -> Option<Result<Outcome>> {
        let call = self.calls().calls.remove(&ticket)?;
        self.give_event(call.event);
        call.outcome
    }

    /// What status blocks say of a call whose kernels have ended.
    fn outcome(&self, reports: &[Report]) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for Report { op, status, parts, counts } in reports {
            if let Some(report) = self.report(status, parts)? {
                let Some((need, have)) = report.overflow() else { return Err(self.ended(op, report)) };
                outcome.overflow.get_or_insert(Error::Overflow { op, rank: self.rank, need, have });
            }
            let totals = match counts {
                Counts::None => None,
                Counts::Handle(known, room) => known.get().map(|totals| (totals, *room)),
                Counts::Exchange(known, room) => {
                    let totals = self.totals(status)?;
                    known.set(totals.clone());
                    Some((totals, *room))
                }
            };
            // Kernels tell of rows that they drop; not of rows of zeros.
            if let Some((totals, room)) = totals.as_ref().filter(|(totals, room)| totals.rows > *room) {
                let (need, have) = (totals.rows as u64, *room as u64);
                outcome.overflow.get_or_insert(Error::Overflow { op, rank: self.rank, need, have });
            }
            outcome.totals.push(totals.map(|(totals, _)| totals));
        }
        Ok(outcome)
    }

    /// The error of a kernel that gave up: a wrong argument, its own words, or the earlier cause that it followed.
    pub fn ended(&self, op: &'static str, report: StatusReport) -> Error {
        let wrong_expert = report.lines.iter().find_map(|line| match line.cause {
            Cause::Expert { token, choice, expert } => Some((token, choice, expert)),
            _ => None,
        });
        if let Some((token, choice, expert)) = wrong_expert {
            let last = self.plan.shape.experts() - 1;
            return Error::argument(
                format!("topk_idx[{token}][{choice}]"),
                expert,
                format!("0 to {last}, or -1 for no expert"),
            );
        }
        // A NIC whose own driver failed gives its kernels an error code only; the driver's words are with the NIC.
        let beneath = self.nic.as_ref().and_then(|nic| nic.counters().err()).map(Box::new);
        let only_followed = report.lines.iter().all(|line| line.cause == Cause::Aborted);
        match &self.calls().broken {
            Some(cause) if only_followed => Error::Broken { rank: self.rank, cause: Box::new(cause.clone()) },
            _ => Error::Ended { op, rank: self.rank, report, beneath },
        }
    }

    /// The outcome of a call that has ended; once.
    pub fn collect(&self, ticket: Ticket) -> Result<Outcome> {
        self.forget(ticket).unwrap_or_else(|| Err(Error::Bug("a call's outcome was taken twice".into())))
    }

    /// Nobody asks for the outcome any more; buffers stay until the kernels have ended.
    pub fn abandon(&self, ticket: Ticket) {
        let ended = self.calls().calls.get_mut(&ticket).is_some_and(|call| {
            call.abandoned = true;
            call.outcome.is_some()
        });
        if ended {
            self.forget(ticket);
        }
    }

    /// What is reached when a call's kernels have ended; `None` when its outcome was taken.
    pub fn event(&self, ticket: Ticket) -> Option<EventId> {
        self.calls().calls.get(&ticket).map(|call| call.event)
    }

    /// Fails while the stream is captured: what is called then would become part of a graph that knows nothing of it.
    pub fn check_not_capturing(&self) -> Result<()> {
        match self.driver.is_capturing(self.stream.id())? {
            false => Ok(()),
            true => Err(Error::argument(
                "stream",
                format!("{}, which is being captured", self.stream.id().0),
                "one that is not: a `Step` of operations is captured (`Communicator::capture`, `Communicator::enlist`)",
            )),
        }
    }

    /// What this communicator does next waits for these events.
    pub fn wait_for_events(&self, events: &[EventId]) -> Result<()> {
        events.iter().try_for_each(|&event| self.driver.stream_wait_event(self.stream.id(), event))
    }

    /// Whether calls are under way.
    pub fn is_idle(&self) -> bool {
        self.calls().open.is_empty()
    }

    /// Calls whose outcome nobody has taken.
    #[cfg(test)]
    pub fn calls_kept(&self) -> usize {
        self.calls().calls.len()
    }

    /// What this rank's queue pairs carried.
    pub fn traffic(&self) -> Result<Traffic> {
        let mut traffic = Traffic::default();
        let (Some(nic), Some(memory)) = (&self.nic, &*self.memory()) else { return Ok(traffic) };
        for (lane, number) in memory.nic.iter().flat_map(RankNic::queue_pairs) {
            let sum = match lane {
                Lane::Payload { .. } => &mut traffic.payload,
                Lane::Credit { .. } => &mut traffic.credit,
                Lane::Exchange => &mut traffic.exchange,
            };
            sum.add(&nic.queue_counters(number)?);
        }
        Ok(traffic)
    }

    /// Copies the load statistics to the host, behind everything that the stream holds.
    pub fn load_statistics(&self) -> Result<LoadStatistics> {
        let mut bytes = vec![0; self.plan.state.load.bytes() as usize];
        let from = self.state()?.ptr().offset(self.plan.state.load.calls);
        self.driver.copy_from_device(&mut bytes, from, self.stream.id())?;
        LoadStatistics::parse(&self.plan, &bytes)
    }

    /// Sets the load statistics to zero, in stream order.
    pub fn reset_load_statistics(&self) -> Result<()> {
        let load = &self.plan.state.load;
        self.driver.fill(self.state()?.ptr().offset(load.calls), 0, load.bytes(), self.stream.id())
    }

    /// The private state, for tensors over its load statistics.
    pub fn state(&self) -> Result<Arc<Buffer>> {
        let state = self.memory().as_ref().map(|memory| Arc::clone(&memory.state));
        state.ok_or_else(|| Error::Bug("a communicator is used behind its close".into()))
    }

    /// Waits until this rank's streams have run dry.
    pub fn quiet(&self, timeout: Duration) -> Result<()> {
        quiet(&self.driver, self.stream.id(), self.rank, timeout)?;
        quiet(&self.driver, self.control.id(), self.rank, timeout)
    }

    /// Takes other ranks' windows out of the map. All ranks must be quiet.
    pub fn unmap(&self) -> Result<()> {
        let imported = self.memory().as_mut().map(|memory| std::mem::take(&mut memory.imported));
        imported.into_iter().flatten().try_for_each(|ptr| self.driver.release_window(ptr))
    }

    /// Frees what only a quiet world without mappings may free.
    pub fn release(&self) -> Result<()> {
        let memory = {
            let mut held = self.memory();
            if held.is_some() {
                // A cancel since the streams were quiet; no other comes while the memory is locked.
                synchronize(&self.driver, self.control.id(), self.rank)?;
            }
            held.take()
        };
        let Some(mut memory) = memory else { return Ok(()) };
        let given_back = memory.nic.as_mut().map_or(Ok(()), RankNic::release);
        // The streams are dry: every call has ended.
        while let Some(front) = self.open_front(Ticket(u64::MAX)) {
            self.finish(front);
        }
        let strays = std::mem::take(&mut self.calls().strays);
        // Without the lock: what callers lent may do what it likes when it goes.
        drop(strays);
        let events = std::mem::take(&mut self.calls().free_events);
        given_back.and(events.into_iter().try_for_each(|event| self.driver.destroy_event(event)))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Without a collective close peers and NICs may still write here, and kernels may be running: the memory stays.
        if self.memory().is_none() {
            return;
        }
        tracing::warn!(rank = self.rank, "communicator dropped without close: its device memory stays allocated");
        if !self.is_idle() {
            if let Err(error) = self.cancel() {
                tracing::warn!(rank = self.rank, %error, "kernels could not be told to leave");
            }
        }
        std::mem::forget(self.memory().take());
        let mut calls = self.calls();
        std::mem::forget((std::mem::take(&mut calls.calls), std::mem::take(&mut calls.strays)));
        std::mem::forget((Arc::clone(&self.stream), Arc::clone(&self.control)));
    }
}
