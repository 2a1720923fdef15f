//! Streams: launches, copies and events, first in first out for each stream of a GPU.

use crate::account::{LaunchAccount, Tally};
use crate::capture::CaptureError;
use crate::cluster::{self, Cluster};
use crate::error::{Fault, FaultKind, MachineError};
use crate::launch::{EventId, Launch, LaunchId, StreamId, TransferId};
use crate::machine::Machine;
use crate::memory::{Kind, Reach};
use crate::observe::Event;
use crate::program::Program;
use crate::run::Agent;
use crate::time::{Due, Wake};
use crate::warp::{Cta, LaunchShape};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// One GPU.
#[derive(Debug)]
pub(crate) struct Gpu {
    pub streams: Vec<Option<Stream>>,
    pub fault: Option<Arc<Fault>>,
    pub used_bytes: u64,
    /// Launches with CTAs that are not resident yet, in order of their start.
    pub starting: VecDeque<LaunchId>,
    /// Launches of streams that share a hardware queue, by queue, in order of their submission.
    pub connections: BTreeMap<u32, VecDeque<LaunchId>>,
    pub sms: Vec<Sm>,
    pub resident: usize,
}

/// What is resident on an SM.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sm {
    pub ctas: u32,
    pub threads: u32,
    pub shared_bytes: u32,
}

/// A stream.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub queue: VecDeque<Command>,
    pub running: Option<LaunchId>,
    /// Hardware queue that its launches go through, if that is modelled.
    pub connection: Option<u32>,
    /// CTAs of launches with a lower number are placed first.
    pub priority: i32,
}

/// Work in a stream.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Launch(LaunchId),
    Write { address: u64, bytes: Vec<u8> },
    Word { address: u64, value: u64 },
    Read { address: u64, bytes: u64, transfer: u64 },
    Copy { from: u64, to: u64, bytes: u64 },
    Fill { address: u64, byte: u8, bytes: u64 },
    Record { event: u32, count: u64 },
    Wait { event: u32, count: u64 },
}

impl Command {
    /// Memory that it touches: starts and sizes.
    pub fn memory(&self) -> Vec<(u64, u64)> {
        match self {
            Command::Write { address, bytes } => vec![(*address, bytes.len() as u64)],
            Command::Word { address, .. } => vec![(*address, 8)],
            Command::Read { address, bytes, .. } | Command::Fill { address, bytes, .. } => vec![(*address, *bytes)],
            Command::Copy { from, to, bytes } => vec![(*from, *bytes), (*to, *bytes)],
            Command::Launch(_) | Command::Record { .. } | Command::Wait { .. } => Vec::new(),
        }
    }
}

/// An event: how often it was recorded, and how many of these were reached.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EventState {
    pub recorded: u64,
    pub reached: u64,
    /// Machine time of the last of them.
    pub reached_ns: u64,
}

/// A launch that is not complete.
#[derive(Debug)]
pub(crate) struct LaunchState {
    pub shape: Arc<LaunchShape>,
    pub stream: StreamId,
    /// That of the stream.
    priority: i32,
    /// CTAs made resident.
    pub started: u64,
    /// CTAs that ended.
    pub ended: u64,
    /// Bulk copies under way.
    pub copies: u64,
    /// How its warps spend their time, when that is kept.
    pub account: Option<Box<LaunchAccount>>,
}

/// Number of CTAs or threads of an extent; beyond 64 bits the greatest number.
fn count(extent: [u32; 3]) -> u64 {
    extent.iter().fold(1, |product: u64, &n| product.saturating_mul(n as u64))
}

impl LaunchShape {
    pub fn ctas(&self) -> u64 {
        self.grid.iter().map(|&n| n as u64).product()
    }

    pub fn threads(&self) -> u32 {
        self.block.iter().product()
    }
}

impl Gpu {
    pub fn new(sms: usize) -> Gpu {
        Gpu {
            streams: vec![Some(Stream::default())],
            fault: None,
            used_bytes: 0,
            starting: VecDeque::new(),
            connections: BTreeMap::new(),
            sms: vec![Sm::default(); sms],
            resident: 0,
        }
    }
}

impl Machine {
    /// A new stream of a GPU.
    pub fn create_stream(&mut self, gpu: usize) -> Result<StreamId, MachineError> {
        self.check_gpu(gpu)?;
        let streams = &mut self.gpus[gpu].streams;
        streams.push(Some(Stream::default()));
        Ok(StreamId(streams.len() as u32 - 1))
    }

    /// From now on CTAs of a stream's launches that wait for room are placed before those of streams with a higher number.
    /// Streams begin with 0. What is resident stays.
    pub fn set_priority(&mut self, gpu: usize, stream: StreamId, priority: i32) -> Result<(), MachineError> {
        self.stream(gpu, stream)?.priority = priority;
        Ok(())
    }

    /// A new stream whose launches go through a hardware queue: one starts when those that were put into the queue
    /// before it are done, whatever their streams. Too few queues for launches that wait for each other stop them all.
    pub fn create_stream_on(&mut self, gpu: usize, connection: u32) -> Result<StreamId, MachineError> {
        let stream = self.create_stream(gpu)?;
        self.stream(gpu, stream)?.connection = Some(connection);
        Ok(stream)
    }

    /// Ends a stream; what is queued is dropped, a running launch goes on.
    pub fn destroy_stream(&mut self, gpu: usize, stream: StreamId) -> Result<(), MachineError> {
        if self.is_capturing(gpu, stream) {
            self.spoil_capture(gpu, stream, "the end of its stream");
            return Err(CaptureError::Unsupported("the end of a stream").into());
        }
        let queue = std::mem::take(&mut self.stream(gpu, stream)?.queue);
        for command in queue {
            if let Command::Launch(id) = command {
                self.launches.remove(&id.0);
                self.leave_connection(gpu, id);
            }
        }
        self.gpus[gpu].streams[stream.0 as usize] = None;
        self.advance_streams();
        Ok(())
    }

    fn leave_connection(&mut self, gpu: usize, launch: LaunchId) {
        for queue in self.gpus[gpu].connections.values_mut() {
            queue.retain(|id| *id != launch);
        }
    }

    fn stream(&mut self, gpu: usize, stream: StreamId) -> Result<&mut Stream, MachineError> {
        self.check_gpu(gpu)?;
        let streams = &mut self.gpus[gpu].streams;
        let count = streams.len() as u64;
        let missing = MachineError::NoSuch { what: "stream", index: stream.0 as u64, count };
        streams.get_mut(stream.0 as usize).and_then(Option::as_mut).ok_or(missing)
    }

    /// Puts work into a stream, or into the graph that the stream captures.
    pub(crate) fn enqueue(&mut self, gpu: usize, stream: StreamId, command: Command) -> Result<(), MachineError> {
        self.stream(gpu, stream)?;
        self.check_alive(gpu)?;
        match self.captures.take((gpu, stream.0), command)? {
            Some(command) => self.enqueue_now(gpu, stream, command),
            None => Ok(()),
        }
    }

    fn enqueue_now(&mut self, gpu: usize, stream: StreamId, command: Command) -> Result<(), MachineError> {
        self.stream(gpu, stream)?.queue.push_back(command);
        if let Some(race) = &mut self.race {
            race.enqueued(gpu, stream.0);
        }
        self.advance_streams();
        Ok(())
    }

    /// Puts a kernel launch into its stream.
    pub fn launch(&mut self, launch: Launch) -> Result<LaunchId, MachineError> {
        self.launch_clusters(launch, None)
    }

    /// As [`Machine::launch`], with the CTAs of a cluster in each dimension for an entry that does not fix them by
    /// `.reqnctapercluster`. One that does takes no other.
    pub fn launch_clusters(&mut self, launch: Launch, cluster: Option<[u32; 3]>) -> Result<LaunchId, MachineError> {
        let program = self.check_launch_shape(&launch, cluster)?;
        if self.captures.take_launch(&launch, cluster)? {
            self.next_launch += 1;
            return Ok(LaunchId(self.next_launch - 1));
        }
        let Launch { gpu, stream, module, entry, grid, block, shared_bytes, args, access } = launch;
        let explicit_cluster = cluster.or(program.required_cluster).is_some();
        let cluster = cluster.or(program.required_cluster).unwrap_or([1; 3]);
        let variables = self.module(module)?.variables[gpu].clone();
        let mut param_address = 0;
        if program.takes_parameters && !args.is_empty() {
            let label = format!("parameters of {entry}");
            let (reach, kind) = (Reach::Gpu(gpu), Kind::Constant);
            param_address = self.memory.allocate(reach, kind, false, args.len() as u64, label)?;
            self.write(param_address, &args)?;
        }
        let id = LaunchId(self.next_launch);
        self.next_launch += 1;
        let shape = Arc::new(LaunchShape {
            id,
            gpu,
            node: self.node_of(gpu),
            program,
            grid,
            block,
            cluster,
            explicit_cluster,
            shared_bytes,
            args,
            param_address,
            rules: access,
            variables,
            sm_count: self.config.gpu.sms,
            sm_warps: self.config.gpu.max_threads_per_sm / 32,
        });
        let Stream { connection, priority, .. } = *self.stream(gpu, stream)?;
        if let Some(connection) = connection {
            self.gpus[gpu].connections.entry(connection).or_default().push_back(id);
        }
        self.launches
            .insert(id.0, LaunchState { shape, stream, priority, started: 0, ended: 0, copies: 0, account: None });
        self.enqueue(gpu, stream, Command::Launch(id))?;
        Ok(id)
    }

    /// Checks what is launched against its entry and the GPU; gives the entry.
    fn check_launch_shape(&self, launch: &Launch, cluster: Option<[u32; 3]>) -> Result<Arc<Program>, MachineError> {
        let &Launch { gpu, module, ref entry, grid, block, shared_bytes, ref args, .. } = launch;
        self.check_alive(gpu)?;
        let program = self.program(module, entry)?.clone();
        let wrong = |what, have: u64, valid: String| MachineError::Launch { entry: entry.clone(), what, have, valid };
        let threads = count(block);
        let most = program.info.max_threads as u64;
        if threads == 0 || threads > most {
            return Err(wrong("threads of a CTA", threads, format!("1..={most}")));
        }
        // CUDA programming guide, "Compute capabilities": the same from 5.0 on.
        if block[2] > 64 {
            return Err(wrong("threads of a CTA in z", block[2].into(), "1..=64".into()));
        }
        for (what, have) in [("CTAs of a grid in y", grid[1]), ("CTAs of a grid in z", grid[2])] {
            if have > 65_535 {
                return Err(wrong(what, have.into(), "1..=65535".into()));
            }
        }
        if let Some(required) = program.required_threads.filter(|r| *r != block) {
            return Err(wrong("threads of a CTA", threads, format!("{required:?} as .reqntid says")));
        }
        if let (Some(required), Some(given)) =
            (program.required_cluster, cluster.filter(|c| program.required_cluster != Some(*c)))
        {
            return Err(wrong("CTAs of a cluster", count(given), format!("{required:?} as .reqnctapercluster says")));
        }
        let explicit_cluster = cluster.or(program.required_cluster).is_some();
        if program.needs_cluster && !explicit_cluster {
            return Err(wrong("CTAs of a cluster", 0, "given at launch: the entry is .explicitcluster".into()));
        }
        let cluster = cluster.or(program.required_cluster).unwrap_or([1; 3]);
        if self.weak.is_some() && count(cluster) > 1 {
            return Err(wrong("CTAs of a cluster", count(cluster), "1 while memory is explored".into()));
        }
        if count(cluster) > 16 || grid.iter().zip(cluster).any(|(ctas, part)| part == 0 || ctas % part != 0) {
            return Err(wrong(
                "CTAs of a cluster",
                count(cluster),
                "1..=16, and each dimension divides the grid's".into(),
            ));
        }
        let ctas = count(grid);
        if ctas == 0 || ctas > 1 << 31 {
            return Err(wrong("CTAs", ctas, "1..=2^31".into()));
        }
        let (size, room) = (program.info.param_bytes, self.config.gpu.shared_bytes_per_sm);
        if args.len() != size {
            return Err(wrong("bytes of arguments", args.len() as u64, size.to_string()));
        }
        let shared = program.shared_bytes as u64 + shared_bytes as u64;
        if shared > room as u64 {
            return Err(wrong("shared memory with the static part", shared, format!("0..={room}")));
        }
        Ok(program)
    }

    /// Whether a launch and all its copies are done. An error when its GPU has faulted before that.
    pub fn launch_done(&self, launch: LaunchId) -> Result<bool, MachineError> {
        match self.launches.get(&launch.0) {
            Some(state) => {
                self.check_alive(state.shape.gpu)?;
                Ok(false)
            }
            None if launch.0 < self.next_launch => Ok(true),
            None => Err(MachineError::NoSuch { what: "launch", index: launch.0, count: self.next_launch - 1 }),
        }
    }

    /// Writes memory in stream order.
    pub fn stream_write(
        &mut self,
        gpu: usize,
        stream: StreamId,
        address: u64,
        bytes: Vec<u8>,
    ) -> Result<(), MachineError> {
        self.enqueue(gpu, stream, Command::Write { address, bytes })
    }

    /// Stores a 64-bit word in stream order, as one strong write that kernels may look at meanwhile: what comes before
    /// it in the stream is visible to who acquires it. A copy is not that.
    pub fn stream_write_word(
        &mut self,
        gpu: usize,
        stream: StreamId,
        address: u64,
        value: u64,
    ) -> Result<(), MachineError> {
        self.enqueue(gpu, stream, Command::Word { address, value })
    }

    /// Reads memory in stream order; [`Machine::take_transfer`] gives the bytes.
    pub fn stream_read(
        &mut self,
        gpu: usize,
        stream: StreamId,
        address: u64,
        bytes: u64,
    ) -> Result<TransferId, MachineError> {
        let transfer = self.next_transfer;
        self.next_transfer += 1;
        self.enqueue(gpu, stream, Command::Read { address, bytes, transfer })?;
        Ok(TransferId(transfer))
    }

    /// The bytes of a finished transfer, once.
    pub fn take_transfer(&mut self, transfer: TransferId) -> Option<Vec<u8>> {
        self.transfers.remove(&transfer.0)
    }

    /// Copies between device memories in stream order.
    pub fn stream_copy(
        &mut self,
        gpu: usize,
        stream: StreamId,
        from: u64,
        to: u64,
        bytes: u64,
    ) -> Result<(), MachineError> {
        self.enqueue(gpu, stream, Command::Copy { from, to, bytes })
    }

    /// Fills memory in stream order.
    pub fn stream_fill(
        &mut self,
        gpu: usize,
        stream: StreamId,
        address: u64,
        byte: u8,
        bytes: u64,
    ) -> Result<(), MachineError> {
        self.enqueue(gpu, stream, Command::Fill { address, byte, bytes })
    }

    /// A new event, reached until it is recorded.
    pub fn create_event(&mut self) -> EventId {
        self.events.push(EventState::default());
        EventId(self.events.len() as u32 - 1)
    }

    fn event(&self, event: EventId) -> Result<EventState, MachineError> {
        self.events.get(event.0 as usize).copied().ok_or(MachineError::NoSuch {
            what: "event",
            index: event.0 as u64,
            count: self.events.len() as u64,
        })
    }

    /// Records an event behind what the stream holds now.
    pub fn record_event(&mut self, gpu: usize, stream: StreamId, event: EventId) -> Result<(), MachineError> {
        let count = self.event(event)?.recorded + 1;
        self.stream(gpu, stream)?;
        self.check_alive(gpu)?;
        if self.captures.take_record((gpu, stream.0), event)? {
            return Ok(());
        }
        self.events[event.0 as usize].recorded = count;
        self.enqueue(gpu, stream, Command::Record { event: event.0, count })
    }

    /// Makes a stream wait for the latest record of an event.
    pub fn wait_event(&mut self, gpu: usize, stream: StreamId, event: EventId) -> Result<(), MachineError> {
        let count = self.event(event)?.recorded;
        self.stream(gpu, stream)?;
        if self.captures.take_wait((gpu, stream.0), event, count > 0)? {
            return Ok(());
        }
        self.enqueue(gpu, stream, Command::Wait { event: event.0, count })
    }

    /// Records an event by hand, in no stream: it is not reached before [`Machine::reach_event`].
    pub fn arm_event(&mut self, event: EventId) -> Result<(), MachineError> {
        let count = self.event(event)?.recorded + 1;
        self.events[event.0 as usize].recorded = count;
        Ok(())
    }

    /// All records of an event are reached now: what waits for them goes on.
    pub fn reach_event(&mut self, event: EventId) -> Result<(), MachineError> {
        let count = self.event(event)?.recorded;
        self.events[event.0 as usize] = EventState { recorded: count, reached: count, reached_ns: self.now_ns };
        self.memory.changes += 1;
        self.advance_streams();
        Ok(())
    }

    /// Whether the latest record of an event was reached.
    pub fn event_reached(&self, event: EventId) -> Result<bool, MachineError> {
        let state = self.event(event)?;
        if self.captures.has_mark(event) {
            return Err(CaptureError::CapturedEvent.into());
        }
        Ok(state.reached >= state.recorded)
    }

    /// Machine time at which the latest record of an event was reached; `None` before.
    pub fn event_time_ns(&self, event: EventId) -> Result<Option<u64>, MachineError> {
        let state = self.event(event)?;
        Ok((state.recorded > 0 && state.reached >= state.recorded).then_some(state.reached_ns))
    }

    /// Whether a stream has nothing left to do. An error when its GPU has faulted.
    pub fn stream_idle(&self, gpu: usize, stream: StreamId) -> Result<bool, MachineError> {
        self.check_alive(gpu)?;
        let streams = &self.gpus[gpu].streams;
        let missing = MachineError::NoSuch { what: "stream", index: stream.0 as u64, count: streams.len() as u64 };
        let stream = streams.get(stream.0 as usize).and_then(Option::as_ref).ok_or(missing)?;
        Ok(stream.running.is_none() && stream.queue.is_empty())
    }

    /// Does what the heads of all streams can do now, until nothing more can.
    pub(crate) fn advance_streams(&mut self) {
        loop {
            let mut moved = false;
            for gpu in 0..self.gpus.len() {
                for stream in 0..self.gpus[gpu].streams.len() {
                    while self.advance_stream(gpu, stream) {
                        moved = true;
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Takes one command from a stream's head if it can start; true when it did.
    fn advance_stream(&mut self, gpu: usize, stream: usize) -> bool {
        if self.gpus[gpu].fault.is_some() {
            return false;
        }
        let Some(state) = &mut self.gpus[gpu].streams[stream] else { return false };
        if state.running.is_some() {
            return false;
        }
        if let Some(Command::Wait { event, count }) = state.queue.front() {
            if self.events[*event as usize].reached < *count {
                return false;
            }
        }
        if let (Some(Command::Launch(id)), Some(connection)) = (state.queue.front(), state.connection) {
            let (id, queues) = (*id, &self.gpus[gpu].connections);
            if queues.get(&connection).and_then(VecDeque::front) != Some(&id) {
                return false;
            }
        }
        let Some(state) = &mut self.gpus[gpu].streams[stream] else { return false };
        let Some(command) = state.queue.pop_front() else { return false };
        self.memory.changes += 1;
        let is_launch = matches!(command, Command::Launch(_));
        if let (Some(race), false) = (&mut self.race, is_launch) {
            race.command_begins(gpu, stream as u32, matches!(command, Command::Word { .. }));
        }
        let done = match command {
            Command::Launch(id) => {
                state.running = Some(id);
                match &mut self.clock {
                    None => self.begin_launch(gpu, stream, id),
                    Some(clock) => {
                        let at_ps = clock.now_ps + clock.timing.gpu.launch_ps;
                        clock.add(at_ps, Due::Launch { gpu, stream, launch: id });
                    }
                }
                Ok(())
            }
            Command::Write { address, bytes } => self.write(address, &bytes),
            Command::Word { address, .. } if !address.is_multiple_of(8) => {
                Err(MachineError::Access { address, problem: FaultKind::Misaligned { align: 8 } })
            }
            Command::Word { address, value } => self.write(address, &value.to_le_bytes()),
            Command::Read { address, bytes, transfer } => {
                let mut into = vec![0; bytes as usize];
                self.read(address, &mut into).map(|()| {
                    self.transfers.insert(transfer, into);
                })
            }
            Command::Copy { from, to, bytes } => self.copy(from, to, bytes),
            Command::Fill { address, byte, bytes } => self.fill(address, byte, bytes),
            Command::Record { event, count } => {
                let now_ns = self.time_ns();
                let state = &mut self.events[event as usize];
                state.reached = state.reached.max(count);
                if let Some(race) = &mut self.race {
                    race.record(gpu, stream as u32, event);
                }
                state.reached_ns = now_ns;
                Ok(())
            }
            Command::Wait { event, .. } => {
                if let Some(race) = &mut self.race {
                    race.wait(gpu, stream as u32, event);
                }
                Ok(())
            }
        };
        if let (Some(race), false) = (&mut self.race, is_launch) {
            race.command_done(gpu, stream as u32);
        }
        if let Err(MachineError::Access { address, problem }) = done {
            self.stream_fault(gpu, address, problem);
        } else if let Err(MachineError::Race(report)) = done {
            self.stream_fault(gpu, 0, FaultKind::Race(report));
        } else if let Err(error) = done {
            self.stream_fault(gpu, 0, FaultKind::Stream(error.to_string()));
        }
        true
    }

    /// A launch begins whose stream has come to it.
    pub(crate) fn begin_launch(&mut self, gpu: usize, stream: usize, id: LaunchId) {
        if self.gpus[gpu].fault.is_some() {
            return;
        }
        self.start(gpu, id);
        if let Some(observer) = &mut self.observer {
            observer.event(&Event::LaunchBegin { launch: id, gpu });
        }
        if let Some(race) = &mut self.race {
            race.launch_begins(id.0, gpu, stream as u32);
        }
        self.open_account(id);
        self.place_ctas(gpu);
    }

    /// A launch waits for room: behind those of its priority, before those of less.
    fn start(&mut self, gpu: usize, id: LaunchId) {
        let priority = |id: &LaunchId| self.launches.get(&id.0).map_or(i32::MIN, |state| state.priority);
        let own = priority(&id);
        let starting = &self.gpus[gpu].starting;
        let place = starting.iter().position(|other| priority(other) > own).unwrap_or(starting.len());
        self.gpus[gpu].starting.insert(place, id);
    }

    /// A copy in a stream failed: the GPU has faulted.
    fn stream_fault(&mut self, gpu: usize, address: u64, kind: FaultKind) {
        let region = Some(self.memory.describe(address));
        let fault = Fault { kind, gpu, thread: None, location: None, address: Some(address), region };
        self.kill(gpu, fault);
    }

    /// Makes CTAs of the launches that wait for room resident, in order.
    pub(crate) fn place_ctas(&mut self, gpu: usize) {
        while let Some(&id) = self.gpus[gpu].starting.front() {
            let Some(state) = self.launches.get_mut(&id.0) else {
                self.gpus[gpu].starting.pop_front();
                continue;
            };
            let shape = state.shape.clone();
            if state.started == shape.ctas() {
                self.gpus[gpu].starting.pop_front();
                continue;
            }
            let count = shape.cluster.iter().product::<u32>() as usize;
            let Some(sms) = free_sms(&mut self.gpus[gpu], &self.config.gpu, &shape, count) else { return };
            let first = state.started;
            state.started += count as u64;
            let cluster = Arc::new(Mutex::new(cluster::State::default()));
            for (rank, sm) in sms.into_iter().enumerate() {
                let cluster = Cluster { rank: rank as u32, state: cluster.clone() };
                self.place_cta(shape.clone(), sm, cta_index(&shape, first / count as u64, rank as u32), cluster);
            }
        }
    }

    fn place_cta(&mut self, shape: Arc<LaunchShape>, sm: usize, index: [u32; 3], cluster: Cluster) {
        let (gpu, launch) = (shape.gpu, shape.id);
        let slot = self.free_ctas.pop().unwrap_or_else(|| {
            self.ctas.push(None);
            self.ctas.len() as u32 - 1
        });
        let serial = self.next_cta;
        self.next_cta += 1;
        self.gpus[gpu].resident += 1;
        let checks = self.config.checks.uninitialized;
        let mut cta = Cta::new(shape, slot, serial, index, sm, checks, self.config.garbage_seed, cluster);
        if let Some(race) = &mut self.race {
            cta.state.race = race.cta_begins(&cta.state);
        }
        for warp in &mut cta.warps {
            warp.queued = true;
            warp.tally = Tally::begin(self.ticks);
            let agent = cta.state.warp_ref(warp.index);
            match &mut self.clock {
                None => self.queue.push_back(Agent::Warp(agent)),
                Some(clock) => clock.wake(agent, &warp.times, Wake::GoesOn),
            }
        }
        if let Some(observer) = &mut self.observer {
            let program = &cta.state.shape.program;
            let (entry, written) = (&*program.name, &*program.source);
            observer.event(&Event::CtaBegin { cta: serial, launch, index, entry, written });
        }
        self.ctas[slot as usize] = Some(Box::new(cta));
    }

    fn open_account(&mut self, launch: LaunchId) {
        let state = self.launches.get_mut(&launch.0).filter(|_| self.config.accounts);
        let Some(LaunchState { shape, account, .. }) = state else { return };
        *account = Some(Box::new(LaunchAccount {
            launch,
            gpu: shape.gpu,
            entry: shape.program.name.to_string(),
            began_ticks: self.ticks,
            ended_ticks: self.ticks,
            warps: Vec::new(),
        }));
    }

    /// A CTA of a launch ended, or a copy of it: the launch may be complete.
    pub(crate) fn check_launch(&mut self, id: LaunchId) {
        let Some(state) = self.launches.get(&id.0) else { return };
        if state.ended < state.shape.ctas() || state.copies > 0 {
            return;
        }
        let (gpu, stream, parameters) = (state.shape.gpu, state.stream, state.shape.param_address);
        if let Some(account) = self.launches.remove(&id.0).and_then(|state| state.account) {
            self.accounts.push(LaunchAccount { ended_ticks: self.ticks, ..*account });
        }
        if parameters != 0 {
            let freed = self.memory.release(parameters, true);
            debug_assert!(freed.is_ok(), "the parameters of a launch are freed once");
        }
        self.leave_connection(gpu, id);
        self.statistics.gpus[gpu].launches += 1;
        if let Some(observer) = &mut self.observer {
            observer.event(&Event::LaunchEnd { launch: id, gpu });
        }
        if let Some(race) = &mut self.race {
            race.launch_ends(id.0, gpu, stream.0);
        }
        if let Some(Some(stream)) = self.gpus[gpu].streams.get_mut(stream.0 as usize) {
            stream.running = None;
        }
        self.advance_streams();
    }

    fn copy(&mut self, from: u64, to: u64, bytes: u64) -> Result<(), MachineError> {
        let access = |f: crate::memory::AccessFault| MachineError::Access { address: f.address, problem: f.kind };
        if bytes == 0 {
            return Ok(());
        }
        let source = self.memory.find(from, bytes).map_err(access)?;
        let source = (source.storage, (from - source.base) as usize);
        let target = self.memory.find(to, bytes).map_err(access)?;
        let target = (target.storage, (to - target.base) as usize);
        self.check_host_read(from, source.0, source.1, bytes as usize)?;
        self.check_host_write(to, target.0, target.1, bytes as usize)?;
        self.memory.copy(source, target, bytes as usize);
        self.wake_watchers();
        Ok(())
    }
}

/// Place in the grid of a CTA: its cluster's number and its rank there.
fn cta_index(shape: &LaunchShape, cluster: u64, rank: u32) -> [u32; 3] {
    let size = shape.cluster;
    let [x, y, _] = std::array::from_fn(|axis| (shape.grid[axis] / size[axis]) as u64);
    let at = [cluster % x, cluster / x % y, cluster / (x * y)];
    let inside = [rank % size[0], rank / size[0] % size[1], rank / (size[0] * size[1])];
    std::array::from_fn(|axis| at[axis] as u32 * size[axis] + inside[axis])
}

/// SMs for the CTAs of a cluster, which are taken; nothing when there is not room for all.
fn free_sms(gpu: &mut Gpu, config: &crate::config::GpuConfig, shape: &LaunchShape, count: usize) -> Option<Vec<usize>> {
    if config.resident_ctas.is_some_and(|most| gpu.resident + count > most) {
        return None;
    }
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        let Some(sm) = free_sm(gpu, config, shape) else {
            for sm in found {
                release(gpu, sm, shape);
            }
            return None;
        };
        let taken = &mut gpu.sms[sm];
        taken.ctas += 1;
        taken.threads += shape.threads();
        taken.shared_bytes += shape.program.shared_bytes + shape.shared_bytes;
        found.push(sm);
    }
    Some(found)
}

/// An SM has a CTA less.
fn release(gpu: &mut Gpu, sm: usize, shape: &LaunchShape) {
    let sm = &mut gpu.sms[sm];
    sm.ctas -= 1;
    sm.threads -= shape.threads();
    sm.shared_bytes -= shape.program.shared_bytes + shape.shared_bytes;
}

/// The SM with the fewest CTAs that has room for one more.
fn free_sm(gpu: &Gpu, config: &crate::config::GpuConfig, shape: &LaunchShape) -> Option<usize> {
    let (threads, shared) = (shape.threads(), shape.program.shared_bytes + shape.shared_bytes);
    let fits = |sm: &&Sm| {
        sm.ctas < config.max_ctas_per_sm
            && sm.threads + threads <= config.max_threads_per_sm
            && sm.shared_bytes + shared <= config.shared_bytes_per_sm
    };
    let best = gpu.sms.iter().filter(fits).map(|sm| sm.ctas).min()?;
    gpu.sms.iter().position(|sm| fits(&sm) && sm.ctas == best)
}
