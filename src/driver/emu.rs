//! The emulated cluster as a driver: kernels' PTX runs on the CPU, deterministically.
//!
//! All GPUs of a cluster are one machine. It runs while a host thread waits: for one that drives it alone, or, in
//! [`EmuMachine::run`], when the threads of all ranks wait (`turns.rs` says how). Timeouts are in the machine's
//! virtual time: how fast this computer is does not matter.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use warpferry_emu as emu;

use super::capture::Captures;
use super::coverage;
use super::turns::{Engine, Misuse, Turns};
use super::{
    Backend, Driver, DriverId, DriverInfo, EventId, FunctionAttributes, FunctionId, GraphId, Launch, StreamId,
    StreamPriority, Wait, WordWait,
};
use crate::error::{Error, Result};
use crate::fabric::emu::EmuNic;
use crate::fabric::Device;
use crate::kernel::KernelImage;
use crate::mem::{DevicePtr, HostBlock, WindowHandle};

/// Machine time that a question such as "is it done?" lets pass when the answer is no.
const GLANCE: Duration = Duration::from_micros(1);
/// Longest machine time that a copy to the host waits for its stream: kernels end by their own deadline before.
const COPY_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Turns of the machine between two looks at what hosts wait for.
const TURNS_PER_LOOK: u32 = 16;

/// An emulated cluster that all its ranks share. Clones are the same cluster.
#[derive(Clone)]
pub struct EmuMachine {
    turns: Arc<Turns<Cluster>>,
    identity: DriverId,
    infos: Arc<Vec<DriverInfo>>,
}

impl EmuMachine {
    /// A cluster.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the setting that is out of range.
    pub fn new(config: emu::MachineConfig) -> Result<EmuMachine> {
        let gpus = config.nodes * config.gpus_per_node;
        let infos = (0..gpus).map(|gpu| DriverInfo {
            id: DriverId::next(),
            name: format!("emulated GPU {gpu}"),
            sms: config.gpu.sms as u32,
            shared_bytes: config.gpu.shared_bytes_per_sm,
            memory_bytes: config.gpu.memory_bytes,
            backend: Backend::Emulator,
            gpu: None,
        });
        let infos = Arc::new(infos.collect());
        let config = emu::MachineConfig { coverage: config.coverage || coverage::is_wanted(), ..config };
        let machine = emu::Machine::new(config)
            .map_err(|error| Error::argument("machine", &error, "a machine within the limits named"))?;
        let cluster = Cluster {
            machine,
            functions: Vec::new(),
            freed: Vec::new(),
            modules: HashMap::new(),
            gpus,
            streams: Vec::new(),
            events: Vec::new(),
            captures: Captures::default(),
            graphs: Vec::new(),
        };
        Ok(EmuMachine { turns: Arc::new(Turns::new(cluster)), identity: DriverId::next(), infos })
    }

    /// Driver of one GPU.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are not so many GPUs.
    pub fn driver(&self, gpu: usize) -> Result<Arc<dyn Driver>> {
        let info = self.infos.get(gpu);
        let info = info.ok_or_else(|| Error::argument("gpu", gpu, format!("below {}", self.infos.len())))?;
        Ok(EmuDriver::make(self, gpu, info))
    }

    /// GPU and NIC of every rank, in order.
    pub fn devices(&self) -> Vec<Device> {
        (0..self.infos.len())
            .zip(self.infos.iter())
            .map(|(gpu, info)| {
                Device::new(EmuDriver::make(self, gpu, info)).nic(Arc::new(EmuNic::new(self.clone(), gpu)))
            })
            .collect()
    }

    /// Runs `act` for every item, each on a thread of its own, in turns; item `i` belongs to GPU `i`.
    ///
    /// # Errors
    /// [`Error::Driver`] when another run is under way.
    pub fn run<I: Send, T: Send>(&self, items: Vec<I>, act: impl Fn(I) -> T + Sync) -> Result<Vec<T>> {
        if items.len() > self.infos.len() {
            return Err(Error::argument(
                "items",
                items.len(),
                format!("at most one for each of {} GPUs", self.infos.len()),
            ));
        }
        self.turns.with(|cluster| cluster.machine.part_hosts(true));
        let results = self.turns.run(items, |_, item| act(item)).map_err(|misuse| misused("run", misuse));
        self.turns.with(|cluster| cluster.machine.part_hosts(false));
        results
    }

    /// Gives the machine to `act`: statistics, faults of NICs, memory.
    pub fn with<T>(&self, act: impl FnOnce(&mut emu::Machine) -> T) -> T {
        self.turns.with(|cluster| act(&mut cluster.machine))
    }

    fn cluster<T>(&self, act: impl FnOnce(&mut Cluster) -> Result<T>) -> Result<T> {
        self.turns.with(act)
    }

    fn wait(&self, call: &'static str, gpu: usize, what: What, timeout: Duration) -> Result<Ended> {
        let deadline_ns = self.turns.with(|cluster| {
            let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
            cluster.machine.time_ns().saturating_add(timeout_ns)
        });
        let wait = HostWait { call, gpu, what, deadline_ns };
        self.turns.wait(gpu, wait).map_err(|misuse| misused(call, misuse))?
    }
}

impl fmt::Debug for EmuMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmuMachine").field("gpus", &self.infos.len()).finish_non_exhaustive()
    }
}

fn misused(call: &'static str, misuse: Misuse) -> Error {
    let message = match misuse {
        Misuse::Outsider => "a run of the emulated cluster is under way, and this thread is not the GPU's rank in it",
        Misuse::Nested => "a run of the emulated cluster is under way already",
    };
    Error::Driver { call, message: message.to_string() }
}

pub(crate) fn failed(call: &'static str) -> impl Fn(emu::MachineError) -> Error {
    move |error| Error::Driver { call, message: error.to_string() }
}

struct Function {
    module: emu::ModuleId,
    entry: &'static str,
    attributes: FunctionAttributes,
}

/// The machine and the names that drivers gave to its parts.
struct Cluster {
    machine: emu::Machine,
    functions: Vec<Function>,
    modules: HashMap<&'static str, (&'static str, emu::ModuleId)>,
    gpus: usize,
    /// `None` for one that was ended.
    streams: Vec<Option<(usize, emu::StreamId)>>,
    /// Memory that waits for its GPU to be idle before it is freed: a queued copy may still name it.
    freed: Vec<(usize, u64)>,
    events: Vec<emu::EventId>,
    captures: Captures,
    /// `None` for one that was ended.
    graphs: Vec<Option<Graph>>,
}

/// A graph of one GPU.
struct Graph {
    gpu: usize,
    id: emu::GraphId,
    /// What its work touches: starts and sizes.
    memory: Vec<(u64, u64)>,
    /// Reached when all its launches so far have ended.
    ended: emu::EventId,
}

/// What a host thread waits for.
#[derive(Debug, Clone)]
enum What {
    Stream(emu::StreamId),
    Event(emu::EventId),
    Word { address: u64, at_least: u64, stream: emu::StreamId },
}

#[derive(Debug, Clone)]
struct HostWait {
    call: &'static str,
    gpu: usize,
    what: What,
    deadline_ns: u64,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Done,
    StreamIdle,
    TimedOut,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (name, (text, module)) in &self.modules {
            let Ok(covered) = self.machine.coverage(*module, name) else { continue };
            coverage::keep(name, text, &covered);
        }
    }
}

impl Cluster {
    fn stream(&self, call: &'static str, gpu: usize, stream: StreamId) -> Result<emu::StreamId> {
        match self.streams.get(stream.0 as usize).copied().flatten() {
            Some((owner, stream)) if owner == gpu => Ok(stream),
            Some((owner, _)) => {
                Err(Error::Driver { call, message: format!("stream {} belongs to GPU {owner}, not {gpu}", stream.0) })
            }
            None => Err(Error::Driver { call, message: format!("no stream {}", stream.0) }),
        }
    }

    /// The same of a stream that the host asks something about: none that captures, whose capture that would end.
    fn stream_asked(&mut self, call: &'static str, gpu: usize, stream: StreamId) -> Result<emu::StreamId> {
        let found = self.stream(call, gpu, stream)?;
        if self.machine.is_capturing(gpu, found) {
            self.machine.spoil_capture(gpu, found, call);
            let message = format!("stream {} is being captured: nothing of it runs before the end", stream.0);
            return Err(Error::Driver { call, message });
        }
        self.captures.refuse(call)?;
        Ok(found)
    }

    /// Refuses a host access to memory of a graph that runs: nobody may come between its launch and its end.
    fn check_graphs(&self, call: &'static str, address: u64, bytes: u64) -> Result<()> {
        let touches = |graph: &Graph| {
            let meets = |&(start, size): &(u64, u64)| address < start.saturating_add(size) && start < address + bytes;
            graph.memory.iter().any(meets) && self.machine.event_reached(graph.ended) == Ok(false)
        };
        match self.graphs.iter().position(|graph| graph.as_ref().is_some_and(touches)) {
            None => Ok(()),
            Some(graph) => {
                let message = format!("{bytes} bytes at {address:#x} are used by graph {graph}, which runs");
                Err(Error::Driver { call, message })
            }
        }
    }

    fn graph(&self, call: &'static str, gpu: usize, graph: GraphId) -> Result<&Graph> {
        let found = self.graphs.get(graph.0 as usize).and_then(Option::as_ref).filter(|found| found.gpu == gpu);
        found.ok_or_else(|| Error::Driver { call, message: format!("no graph {} of GPU {gpu}", graph.0) })
    }

    /// Frees what was given back, as soon as the GPU's streams hold nothing that could name it.
    fn sweep(&mut self, gpu: usize) -> Result<()> {
        if self.captures.any() {
            return Ok(());
        }
        let machine = &self.machine;
        let busy = self.streams.iter().flatten().any(|&(owner, stream)| {
            // A GPU that has faulted runs nothing any more.
            owner == gpu && !machine.stream_idle(gpu, stream).unwrap_or(true)
        });
        if busy {
            return Ok(());
        }
        let (ready, later) = std::mem::take(&mut self.freed).into_iter().partition(|&(owner, _)| owner == gpu);
        self.freed = later;
        let ready: Vec<(usize, u64)> = ready;
        ready.into_iter().try_for_each(|(_, address)| self.machine.free(address)).map_err(failed("free"))
    }

    fn event(&self, call: &'static str, event: EventId) -> Result<emu::EventId> {
        let found = self.events.get(event.0 as usize).copied();
        found.ok_or_else(|| Error::Driver { call, message: format!("no event {}", event.0) })
    }

    fn function(&self, call: &'static str, function: FunctionId) -> Result<&Function> {
        let found = self.functions.get(function.0 as usize);
        found.ok_or_else(|| Error::Driver { call, message: format!("no function {}", function.0) })
    }

    /// Every GPU shares the decoded text of a kernel.
    fn module(&mut self, image: &KernelImage) -> Result<emu::ModuleId> {
        if let Some(&(text, module)) = self.modules.get(image.name) {
            if std::ptr::eq(text, image.marked_text) {
                return Ok(module);
            }
        }
        let module = self
            .machine
            .load_module(image.name, image.marked_text)
            .map_err(|error| Error::Driver { call: "load", message: error.to_string() })?;
        self.modules.insert(image.name, (image.marked_text, module));
        Ok(module)
    }
}

/// Whether a wait is over for another reason than time.
fn reached(machine: &emu::Machine, wait: &HostWait) -> Result<Option<Ended>> {
    let failed = failed(wait.call);
    let idle = |stream| machine.stream_idle(wait.gpu, stream).map_err(&failed);
    let ended = match wait.what {
        What::Stream(stream) => idle(stream)?.then_some(Ended::Done),
        What::Event(event) if machine.event_reached(event).map_err(&failed)? => Some(Ended::Done),
        // An event of a GPU that has faulted never comes. The run that told of the fault may have been another's.
        What::Event(_) => match machine.fault(wait.gpu) {
            Some(fault) => return Err(Error::Driver { call: wait.call, message: fault.to_string() }),
            None => None,
        },
        What::Word { address, at_least, stream } => {
            let mut word = [0; 8];
            machine.read_raw(address, &mut word).map_err(&failed)?;
            if u64::from_le_bytes(word) >= at_least {
                Some(Ended::Done)
            } else {
                idle(stream)?.then_some(Ended::StreamIdle)
            }
        }
    };
    Ok(ended)
}

fn look(machine: &emu::Machine, wait: &HostWait) -> Option<Result<Ended>> {
    match reached(machine, wait) {
        Ok(None) => (machine.time_ns() >= wait.deadline_ns).then_some(Ok(Ended::TimedOut)),
        Ok(Some(ended)) => Some(Ok(ended)),
        Err(error) => Some(Err(error)),
    }
}

/// The answers that `answer` has, by position.
fn answers<T>(waits: &[HostWait], answer: impl Fn(&HostWait) -> Option<T>) -> Vec<(usize, T)> {
    waits.iter().enumerate().filter_map(|(index, wait)| answer(wait).map(|answer| (index, answer))).collect()
}

impl Engine for Cluster {
    type Wait = HostWait;
    type Answer = Result<Ended>;

    fn poll(&mut self, wait: &HostWait) -> Option<Result<Ended>> {
        look(&self.machine, wait)
    }

    fn advance(&mut self, waits: &[HostWait]) -> Vec<(usize, Result<Ended>)> {
        // A fault is told once a GPU; more rounds than that cannot be.
        for _ in 0..=self.gpus {
            let mut turns = 0;
            let outcome = self.machine.run(|machine| {
                turns += 1;
                turns % TURNS_PER_LOOK == 0 && waits.iter().any(|wait| look(machine, wait).is_some())
            });
            let found = answers(waits, |wait| look(&self.machine, wait));
            if !found.is_empty() {
                return found;
            }
            let found = match outcome {
                Ok(emu::RunOutcome::Reached) => Vec::new(),
                Ok(emu::RunOutcome::Idle) => idle(waits),
                Ok(emu::RunOutcome::Stalled(report)) => answers(waits, |wait| Some(error(wait, report.to_string()))),
                Err(fault) => answers(waits, |wait| (wait.gpu == fault.gpu).then(|| error(wait, fault.to_string()))),
            };
            if !found.is_empty() {
                return found;
            }
        }
        answers(waits, |wait| Some(error(wait, "the emulated cluster makes no progress".to_string())))
    }
}

/// Nothing is left to do: time alone passes until the first deadline.
fn idle(waits: &[HostWait]) -> Vec<(usize, Result<Ended>)> {
    let first = waits.iter().map(|wait| wait.deadline_ns).min();
    answers(waits, |wait| (Some(wait.deadline_ns) == first).then_some(Ok(Ended::TimedOut)))
}

fn error(wait: &HostWait, message: String) -> Result<Ended> {
    Err(Error::Driver { call: wait.call, message })
}

/// Driver of one GPU of the cluster.
#[derive(Debug)]
struct EmuDriver {
    machine: EmuMachine,
    gpu: usize,
    info: DriverInfo,
    /// Marks the place of copies to the host in a stream.
    copied: OnceLock<emu::EventId>,
}

impl EmuDriver {
    fn make(machine: &EmuMachine, gpu: usize, info: &DriverInfo) -> Arc<dyn Driver> {
        Arc::new(EmuDriver { machine: machine.clone(), gpu, info: info.clone(), copied: OnceLock::new() })
    }

    /// A stream that the host asks something about.
    fn stream(&self, call: &'static str, stream: StreamId) -> Result<emu::StreamId> {
        self.machine.cluster(|cluster| cluster.stream_asked(call, self.gpu, stream))
    }

    /// An event that the host asks about.
    fn event(&self, call: &'static str, event: EventId) -> Result<emu::EventId> {
        self.machine.cluster(|cluster| {
            cluster.captures.refuse(call)?;
            let event = cluster.event(call, event)?;
            cluster.machine.event_reached(event).map(|_| event).or_else(|error| match error {
                emu::MachineError::Capture(_) => Err(failed(call)(error)),
                // Of a fault its wait tells.
                _ => Ok(event),
            })
        })
    }

    fn block_address(call: &'static str, block: &HostBlock, offset: u64, bytes: u64) -> Result<u64> {
        if offset.checked_add(bytes).is_none_or(|end| end > block.bytes) {
            let message = format!("{bytes} bytes at offset {offset} are outside the block {block:?}");
            return Err(Error::Driver { call, message });
        }
        Ok(block.id + offset)
    }
}

/// Window handles carry the cluster, the GPU and the address.
fn window_handle(cluster: DriverId, gpu: usize, address: u64) -> WindowHandle {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&cluster.number().to_le_bytes());
    bytes[8..16].copy_from_slice(&(gpu as u64).to_le_bytes());
    bytes[16..24].copy_from_slice(&address.to_le_bytes());
    WindowHandle(bytes)
}

impl Driver for EmuDriver {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    fn alloc(&self, bytes: u64) -> Result<DevicePtr> {
        self.machine.cluster(|cluster| {
            cluster.captures.refuse("alloc")?;
            cluster.sweep(self.gpu)?;
            cluster.machine.alloc(self.gpu, bytes).map(DevicePtr::new).map_err(failed("alloc"))
        })
    }

    fn free(&self, ptr: DevicePtr) -> Result<()> {
        self.machine.cluster(|cluster| {
            cluster.freed.push((self.gpu, ptr.address()));
            cluster.sweep(self.gpu)
        })
    }

    fn check_range(&self, ptr: DevicePtr, bytes: u64) -> Result<()> {
        let mut byte = [0];
        let ends = [ptr.address(), ptr.address().wrapping_add(bytes.saturating_sub(1))];
        self.machine.cluster(|cluster| {
            let seen = ends.iter().try_for_each(|&end| cluster.machine.read_raw(end, &mut byte));
            seen.map_err(failed("check_range"))
        })
    }

    fn alloc_host(&self, bytes: u64) -> Result<HostBlock> {
        let address = self.machine.cluster(|cluster| {
            cluster.captures.refuse("alloc_host")?;
            let node = cluster.machine.node_of(self.gpu);
            cluster.machine.alloc_host(node, bytes).map_err(failed("alloc_host"))
        })?;
        Ok(HostBlock { id: address, device: DevicePtr::new(address), bytes })
    }

    fn free_host(&self, block: &HostBlock) -> Result<()> {
        self.machine.with(|machine| machine.free(block.id)).map_err(failed("free_host"))
    }

    fn read_host(&self, block: &HostBlock, offset: u64, into: &mut [u8]) -> Result<()> {
        let address = Self::block_address("read_host", block, offset, into.len() as u64)?;
        self.machine.cluster(|cluster| {
            cluster.check_graphs("read_host", address, into.len() as u64)?;
            cluster.machine.read(address, into).map_err(failed("read_host"))
        })
    }

    fn write_host(&self, block: &HostBlock, offset: u64, bytes: &[u8]) -> Result<()> {
        let address = Self::block_address("write_host", block, offset, bytes.len() as u64)?;
        self.machine.cluster(|cluster| {
            cluster.captures.refuse("write_host")?;
            cluster.check_graphs("write_host", address, bytes.len() as u64)?;
            cluster.machine.write(address, bytes).map_err(failed("write_host"))
        })
    }

    fn export_window(&self, ptr: DevicePtr) -> Result<WindowHandle> {
        Ok(window_handle(self.machine.identity, self.gpu, ptr.address()))
    }

    fn import_window(&self, handle: &WindowHandle) -> Result<DevicePtr> {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| handle.0[at + index]));
        let (cluster, gpu, address) = (word(0), word(8), word(16));
        if cluster != self.machine.identity.number() {
            return Err(Error::Driver {
                call: "import_window",
                message: "the window lies in another emulated cluster".to_string(),
            });
        }
        if gpu == self.gpu as u64 {
            return Ok(DevicePtr::new(address));
        }
        let mapped = self.machine.with(|machine| machine.map_peer(address, self.gpu));
        mapped.map(DevicePtr::new).map_err(failed("import_window"))
    }

    fn release_window(&self, ptr: DevicePtr) -> Result<()> {
        self.machine.with(|machine| machine.unmap(ptr.address())).map_err(failed("release_window"))
    }

    fn load(&self, image: &KernelImage) -> Result<FunctionId> {
        self.machine.cluster(|cluster| {
            cluster.captures.refuse("load")?;
            let module = cluster.module(image)?;
            let info = cluster.machine.entry_info(module, image.name).map_err(failed("load"))?;
            let attributes = FunctionAttributes {
                static_shared: info.static_shared_bytes,
                max_threads: info.max_threads,
                argument_bytes: info.param_bytes as u32,
            };
            cluster.functions.push(Function { module, entry: image.name, attributes });
            Ok(FunctionId(cluster.functions.len() as u64 - 1))
        })
    }

    fn attributes(&self, function: FunctionId) -> Result<FunctionAttributes> {
        self.machine.cluster(|cluster| Ok(cluster.function("attributes", function)?.attributes.clone()))
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        self.machine.cluster(|cluster| {
            let function = cluster.function("launch", launch.function)?;
            let rule = |rule: &super::AccessRule| emu::AccessRule {
                address: rule.address.address(),
                bytes: Some(rule.bytes),
                read: rule.read,
                write: rule.write,
            };
            let launch = emu::Launch {
                gpu: self.gpu,
                stream: cluster.stream("launch", self.gpu, launch.stream)?,
                module: function.module,
                entry: function.entry.to_string(),
                grid: [launch.grid, 1, 1],
                block: [launch.block, 1, 1],
                shared_bytes: launch.shared_bytes,
                args: launch.args.to_vec(),
                access: launch.access.iter().map(rule).collect(),
            };
            cluster.machine.launch(launch).map(drop).map_err(failed("launch"))
        })
    }

    fn streams(&self) -> Vec<StreamId> {
        self.machine.turns.with(|cluster| {
            let own = |(number, slot): (u64, &Option<(usize, _)>)| {
                slot.filter(|&(gpu, _)| gpu == self.gpu).map(|_| StreamId(number))
            };
            (0..).zip(&cluster.streams).filter_map(own).collect()
        })
    }

    fn create_stream(&self, priority: StreamPriority) -> Result<StreamId> {
        self.machine.cluster(|cluster| {
            let stream = cluster.machine.create_stream(self.gpu).map_err(failed("create_stream"))?;
            cluster.machine.set_priority(self.gpu, stream, priority.0).map_err(failed("create_stream"))?;
            cluster.streams.push(Some((self.gpu, stream)));
            Ok(StreamId(cluster.streams.len() as u64 - 1))
        })
    }

    fn destroy_stream(&self, stream: StreamId) -> Result<()> {
        self.machine.cluster(|cluster| {
            let found = cluster.stream("destroy_stream", self.gpu, stream)?;
            cluster.streams[stream.0 as usize] = None;
            cluster.machine.destroy_stream(self.gpu, found).map_err(failed("destroy_stream"))
        })
    }

    fn synchronize(&self, stream: StreamId, timeout: Duration) -> Result<Wait> {
        let stream = self.stream("synchronize", stream)?;
        self.machine.wait("synchronize", self.gpu, What::Stream(stream), timeout).map(Ended::simply)
    }

    fn is_idle(&self, stream: StreamId) -> Result<bool> {
        let stream = self.stream("is_idle", stream)?;
        self.machine.wait("is_idle", self.gpu, What::Stream(stream), GLANCE).map(|ended| ended == Ended::Done)
    }

    fn create_event(&self) -> Result<EventId> {
        self.machine.cluster(|cluster| {
            let event = cluster.machine.create_event();
            cluster.events.push(event);
            Ok(EventId(cluster.events.len() as u64 - 1))
        })
    }

    fn destroy_event(&self, event: EventId) -> Result<()> {
        self.machine.cluster(|cluster| cluster.event("destroy_event", event).map(drop))
    }

    fn record_event(&self, event: EventId, stream: StreamId) -> Result<()> {
        self.machine.cluster(|cluster| {
            let event = cluster.event("record_event", event)?;
            let stream = cluster.stream("record_event", self.gpu, stream)?;
            cluster.machine.record_event(self.gpu, stream, event).map_err(failed("record_event"))
        })
    }

    fn stream_wait_event(&self, stream: StreamId, event: EventId) -> Result<()> {
        self.machine.cluster(|cluster| {
            let event = cluster.event("stream_wait_event", event)?;
            let stream = cluster.stream("stream_wait_event", self.gpu, stream)?;
            cluster.machine.wait_event(self.gpu, stream, event).map_err(failed("stream_wait_event"))
        })
    }

    fn synchronize_event(&self, event: EventId, timeout: Duration) -> Result<Wait> {
        let event = self.event("synchronize_event", event)?;
        self.machine.wait("synchronize_event", self.gpu, What::Event(event), timeout).map(Ended::simply)
    }

    fn is_reached(&self, event: EventId) -> Result<bool> {
        let event = self.event("is_reached", event)?;
        self.machine.wait("is_reached", self.gpu, What::Event(event), GLANCE).map(|ended| ended == Ended::Done)
    }

    fn elapsed_ns(&self, start: EventId, end: EventId) -> Result<u64> {
        self.machine.cluster(|cluster| {
            let reached = |event| {
                let event = cluster.event("elapsed_ns", event)?;
                cluster.machine.event_time_ns(event).map_err(failed("elapsed_ns"))?.ok_or_else(|| Error::Driver {
                    call: "elapsed_ns",
                    message: "an event that was not reached has no time".to_string(),
                })
            };
            Ok(reached(end)?.saturating_sub(reached(start)?))
        })
    }

    fn write_word(&self, to: DevicePtr, value: u64, stream: StreamId) -> Result<()> {
        self.machine.cluster(|cluster| {
            let stream = cluster.stream("write_word", self.gpu, stream)?;
            cluster.machine.stream_write_word(self.gpu, stream, to.address(), value).map_err(failed("write_word"))
        })
    }

    fn copy_to_device(&self, to: DevicePtr, bytes: &[u8], stream: StreamId) -> Result<()> {
        self.machine.cluster(|cluster| {
            let stream = cluster.stream_asked("copy_to_device", self.gpu, stream)?;
            let copied = cluster.machine.stream_write(self.gpu, stream, to.address(), bytes.to_vec());
            copied.map_err(failed("copy_to_device"))
        })
    }

    fn copy_from_device(&self, into: &mut [u8], from: DevicePtr, stream: StreamId) -> Result<()> {
        const CALL: &str = "copy_from_device";
        let event = self.machine.cluster(|cluster| {
            let stream = cluster.stream_asked(CALL, self.gpu, stream)?;
            let event = *self.copied.get_or_init(|| cluster.machine.create_event());
            cluster.machine.record_event(self.gpu, stream, event).map_err(failed(CALL))?;
            Ok(event)
        })?;
        if self.machine.wait(CALL, self.gpu, What::Event(event), COPY_TIMEOUT)? == Ended::TimedOut {
            return Err(Error::Driver { call: CALL, message: "the stream does not come to the copy".to_string() });
        }
        self.machine.cluster(|cluster| {
            cluster.check_graphs(CALL, from.address(), into.len() as u64)?;
            let stream = cluster.stream_asked(CALL, self.gpu, stream)?;
            cluster.machine.read_behind(self.gpu, stream, from.address(), into).map_err(failed(CALL))
        })
    }

    fn copy_to_host(&self, into: &HostBlock, offset: u64, from: DevicePtr, bytes: u64, stream: StreamId) -> Result<()> {
        let to = Self::block_address("copy_to_host", into, offset, bytes)?;
        self.machine.cluster(|cluster| {
            let stream = cluster.stream("copy_to_host", self.gpu, stream)?;
            let copied = cluster.machine.stream_copy(self.gpu, stream, from.address(), to, bytes);
            copied.map_err(failed("copy_to_host"))
        })
    }

    fn copy_within(&self, to: DevicePtr, from: DevicePtr, bytes: u64, stream: StreamId) -> Result<()> {
        self.machine.cluster(|cluster| {
            let stream = cluster.stream("copy_within", self.gpu, stream)?;
            let copied = cluster.machine.stream_copy(self.gpu, stream, from.address(), to.address(), bytes);
            copied.map_err(failed("copy_within"))
        })
    }

    fn fill(&self, to: DevicePtr, byte: u8, bytes: u64, stream: StreamId) -> Result<()> {
        self.machine.cluster(|cluster| {
            let stream = cluster.stream("fill", self.gpu, stream)?;
            cluster.machine.stream_fill(self.gpu, stream, to.address(), byte, bytes).map_err(failed("fill"))
        })
    }

    fn wait_word(
        &self,
        block: &HostBlock,
        offset: u64,
        at_least: u64,
        stream: StreamId,
        timeout: Duration,
    ) -> Result<WordWait> {
        let address = Self::block_address("wait_word", block, offset, 8)?;
        let stream = self.stream("wait_word", stream)?;
        let what = What::Word { address, at_least, stream };
        Ok(match self.machine.wait("wait_word", self.gpu, what, timeout)? {
            Ended::Done => WordWait::Reached,
            Ended::StreamIdle => WordWait::StreamIdle,
            Ended::TimedOut => WordWait::TimedOut,
        })
    }

    fn begin_capture(&self, stream: StreamId) -> Result<()> {
        self.machine.cluster(|cluster| {
            let found = cluster.stream("begin_capture", self.gpu, stream)?;
            cluster.machine.begin_capture(self.gpu, found).map_err(failed("begin_capture"))?;
            cluster.captures.begin(stream);
            Ok(())
        })
    }

    fn is_capturing(&self, stream: StreamId) -> Result<bool> {
        self.machine.cluster(|cluster| {
            let stream = cluster.stream("is_capturing", self.gpu, stream)?;
            Ok(cluster.machine.is_capturing(self.gpu, stream))
        })
    }

    fn end_capture(&self, stream: StreamId) -> Result<GraphId> {
        self.machine.cluster(|cluster| {
            let found = cluster.stream("end_capture", self.gpu, stream)?;
            let id = cluster.machine.end_capture(self.gpu, found).map_err(failed("end_capture"));
            let valid = cluster.captures.end(stream);
            let id = id?;
            if let Err(error) = valid {
                cluster.machine.destroy_graph(id).map_err(failed("end_capture"))?;
                return Err(error);
            }
            let memory = cluster.machine.graph_memory(id).map_err(failed("end_capture"))?;
            let ended = cluster.machine.create_event();
            cluster.graphs.push(Some(Graph { gpu: self.gpu, id, memory, ended }));
            Ok(GraphId(cluster.graphs.len() as u64 - 1))
        })
    }

    fn launch_graph(&self, graph: GraphId, stream: StreamId) -> Result<()> {
        self.machine.cluster(|cluster| {
            let stream = cluster.stream("launch_graph", self.gpu, stream)?;
            let Graph { id, ended, .. } = *cluster.graph("launch_graph", self.gpu, graph)?;
            cluster.machine.launch_graph(self.gpu, stream, id).map_err(failed("launch_graph"))?;
            cluster.machine.record_event(self.gpu, stream, ended).map_err(failed("launch_graph"))
        })
    }

    fn destroy_graph(&self, graph: GraphId) -> Result<()> {
        self.machine.cluster(|cluster| {
            let id = cluster.graph("destroy_graph", self.gpu, graph)?.id;
            cluster.graphs[graph.0 as usize] = None;
            cluster.machine.destroy_graph(id).map_err(failed("destroy_graph"))
        })
    }
}

impl Ended {
    fn simply(self) -> Wait {
        match self {
            Ended::TimedOut => Wait::TimedOut,
            Ended::Done | Ended::StreamIdle => Wait::Done,
        }
    }
}
