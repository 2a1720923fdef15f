//! The machine: memory, modules and NICs as the host sees them. Streams and running are in their own files.

use crate::account::LaunchAccount;
use crate::capture::Captures;
use crate::choice::Choices;
use crate::config::{ConfigError, MachineConfig, MemoryOrder};
use crate::copies::Copies;
use crate::coverage::{self, Covered, Marks};
use crate::error::{Fault, FaultKind, LoadError, MachineError};
use crate::isa;
use crate::launch::{EntryInfo, ModuleId};
use crate::memory::{Kind, Memory, Reach, Region, WarpRef};
use crate::observe::Observer;
use crate::program::Program;
use crate::race::{self, Race};
use crate::run::Agent;
use crate::statistics::{GpuStatistics, Statistics};
use crate::stream::{EventState, Gpu, LaunchState};
use crate::target;
use crate::time::Clock;
use crate::warp::Cta;
use crate::weak::{Place, Weak};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use warpferry_nic::{MemoryRegion, Network, NicId, QueueConfig, QueuePair, Rights};
use warpferry_ptx::ast::Space;

/// Bytes of a doorbell page.
pub const DOORBELL_PAGE_BYTES: u64 = 1 << 16;

/// Nodes of GPUs and NICs, run by one deterministic scheduler.
///
/// There is one NIC for each GPU. A call that names a GPU takes `node * gpus_per_node + local`.
pub struct Machine {
    pub(crate) config: MachineConfig,
    pub(crate) memory: Memory,
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) modules: Vec<Module>,
    pub(crate) launches: HashMap<u64, LaunchState>,
    pub(crate) next_launch: u64,
    pub(crate) next_transfer: u64,
    pub(crate) transfers: HashMap<u64, Vec<u8>>,
    pub(crate) events: Vec<EventState>,
    pub(crate) captures: Captures,
    pub(crate) ctas: Vec<Option<Box<Cta>>>,
    pub(crate) free_ctas: Vec<u32>,
    pub(crate) next_cta: u64,
    pub(crate) queue: VecDeque<Agent>,
    pub(crate) nic_queued: bool,
    pub(crate) sleepers: BinaryHeap<Reverse<(u64, WarpRef)>>,
    pub(crate) copies: Copies,
    pub(crate) network: Network,
    pub(crate) nics: Vec<NicId>,
    pub(crate) doorbells: HashMap<(u32, usize), u64>,
    pub(crate) violations_seen: usize,
    /// GPU of each queue pair.
    pub(crate) queue_pairs: HashMap<u32, usize>,
    pub(crate) choices: Choices,
    pub(crate) now_ns: u64,
    /// Picoseconds beyond `now_ns`.
    pub(crate) now_rest_ps: u64,
    pub(crate) stall_round: u32,
    /// Time that was let pass since all who wait were last woken.
    pub(crate) waited_ns: u64,
    pub(crate) changes_seen: u64,
    pub(crate) statistics: Statistics,
    /// Rounds of the schedule so far, when accounts are kept.
    pub(crate) ticks: u64,
    /// Of launches that are done, in the order in which they ended.
    pub(crate) accounts: Vec<LaunchAccount>,
    pub(crate) observer: Option<Box<dyn Observer + Send>>,
    pub(crate) race: Option<Box<Race>>,
    pub(crate) weak: Option<Box<Weak>>,
    /// Faults that no run has returned yet.
    pub(crate) fresh_faults: VecDeque<Fault>,
    /// Kept between turns to save its memory.
    pub(crate) sleeps: Vec<u64>,
    /// Who acts when, when the machine's parts have times.
    pub(crate) clock: Option<Box<Clock>>,
}

/// A loaded module.
pub(crate) struct Module {
    pub name: String,
    pub programs: BTreeMap<String, Arc<Program>>,
    /// Entries that cannot be run, and why.
    pub broken: BTreeMap<String, LoadError>,
    /// Addresses of its variables for each GPU.
    pub variables: Vec<Arc<Vec<u64>>>,
    pub names: Vec<String>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("gpus", &self.gpus.len())
            .field("time_ns", &self.time_ns())
            .finish_non_exhaustive()
    }
}

/// Most bytes of a constant variable: eleven banks of 64 KiB (PTX ISA, "Constant State Space").
const CONSTANT_BYTES_MAX: u64 = 11 << 16;

impl Machine {
    /// An idle machine.
    pub fn new(config: MachineConfig) -> Result<Machine, ConfigError> {
        config.validate()?;
        let count = config.nodes * config.gpus_per_node;
        let nic_error = |e: warpferry_nic::ConfigError| ConfigError::Nic(e.to_string());
        let mut network = Network::new(config.nic.clone()).map_err(nic_error)?;
        let nics = (0..count).map(|_| network.add_nic()).collect::<Result<Vec<_>, _>>().map_err(nic_error)?;
        let weak = config.memory == MemoryOrder::Weak;
        Ok(Machine {
            memory: Memory::new(config.checks.uninitialized),
            gpus: (0..count).map(|_| Gpu::new(config.gpu.sms)).collect(),
            modules: Vec::new(),
            launches: HashMap::new(),
            next_launch: 1,
            next_transfer: 1,
            transfers: HashMap::new(),
            events: Vec::new(),
            captures: Captures::default(),
            ctas: Vec::new(),
            free_ctas: Vec::new(),
            next_cta: 1,
            queue: VecDeque::new(),
            nic_queued: false,
            sleepers: BinaryHeap::new(),
            copies: Copies::default(),
            network,
            nics,
            doorbells: HashMap::new(),
            violations_seen: 0,
            queue_pairs: HashMap::new(),
            choices: Choices::new(&config.schedule, config.record_choices),
            now_ns: 0,
            now_rest_ps: 0,
            stall_round: 0,
            waited_ns: 0,
            changes_seen: 0,
            ticks: 0,
            accounts: Vec::new(),
            statistics: Statistics { gpus: vec![GpuStatistics::default(); count], ..Statistics::default() },
            observer: None,
            race: (config.checks.races || weak).then(|| Box::new(Race::new(&config))),
            weak: weak.then(Box::default),
            fresh_faults: VecDeque::new(),
            sleeps: Vec::new(),
            clock: config
                .timing
                .clone()
                .map(|timing| Box::new(Clock::new(timing, config.nodes, config.gpus_per_node, config.gpu.sms))),
            config,
        })
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &MachineConfig {
        &self.config
    }

    /// Number of GPUs.
    pub fn gpus(&self) -> usize {
        self.gpus.len()
    }

    /// Node of a GPU.
    pub fn node_of(&self, gpu: usize) -> usize {
        gpu / self.config.gpus_per_node
    }

    /// Virtual time.
    pub fn time_ns(&self) -> u64 {
        self.now_ns
    }

    /// Counts of what was done.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// How long the parts of a GPU have worked, when the machine's parts have times.
    pub fn work(&self, gpu: usize) -> Option<crate::Work> {
        let clock = self.clock.as_ref()?;
        (gpu < self.gpus.len()).then(|| clock.work(gpu))
    }

    /// Accounts of the launches that have ended since the last call, in the order in which they ended; none unless
    /// [`MachineConfig::accounts`] asks for them.
    pub fn take_accounts(&mut self) -> Vec<LaunchAccount> {
        std::mem::take(&mut self.accounts)
    }

    /// The choices made so far, when they are recorded.
    pub fn recorded_choices(&self) -> Option<&[u32]> {
        self.choices.recorded()
    }

    /// The choices made under [`crate::Schedule::Explore`], each with the number that it was among.
    pub fn explored_choices(&self) -> &[(u32, u32)] {
        self.choices.explored()
    }

    /// Sends all events to `observer` from now on; `None` ends that.
    pub fn set_observer(&mut self, observer: Option<Box<dyn Observer + Send>>) {
        self.observer = observer;
    }

    /// The fault of a GPU, if it has one. It stays for the machine's life.
    pub fn fault(&self, gpu: usize) -> Option<&Fault> {
        self.gpus.get(gpu).and_then(|g| g.fault.as_deref())
    }

    pub(crate) fn check_gpu(&self, gpu: usize) -> Result<(), MachineError> {
        if gpu < self.gpus.len() {
            return Ok(());
        }
        Err(MachineError::NoSuch { what: "gpu", index: gpu as u64, count: self.gpus.len() as u64 })
    }

    /// The GPU exists and has not faulted.
    pub(crate) fn check_alive(&self, gpu: usize) -> Result<(), MachineError> {
        self.check_gpu(gpu)?;
        match &self.gpus[gpu].fault {
            Some(fault) => Err(MachineError::Faulted(fault.clone())),
            None => Ok(()),
        }
    }

    /// Device memory; its contents are undefined. Aligned to 4 GiB.
    pub fn alloc(&mut self, gpu: usize, bytes: u64) -> Result<u64, MachineError> {
        self.check_gpu(gpu)?;
        let free = self.config.gpu.memory_bytes - self.gpus[gpu].used_bytes;
        if bytes > free {
            return Err(MachineError::OutOfMemory { gpu, bytes, free });
        }
        let label = format!("memory of gpu {gpu}");
        let address = self.memory.allocate(Reach::Gpu(gpu), Kind::Device, true, bytes, label)?;
        self.gpus[gpu].used_bytes += bytes;
        Ok(address)
    }

    /// Frees device or host memory. Peer mappings of it end too.
    pub fn free(&mut self, address: u64) -> Result<(), MachineError> {
        let region = self.memory.release(address, true)?;
        if let Some(race) = &mut self.race {
            race.forget(region.storage);
        }
        if let Some(weak) = &mut self.weak {
            weak.forget(region.storage);
        }
        if let (Reach::Gpu(gpu), Kind::Device) = (region.reach, region.kind) {
            self.gpus[gpu].used_bytes -= region.bytes;
        }
        Ok(())
    }

    /// Host memory that all GPUs of a node can use at the same address.
    pub fn alloc_host(&mut self, node: usize, bytes: u64) -> Result<u64, MachineError> {
        if node >= self.config.nodes {
            let count = self.config.nodes as u64;
            return Err(MachineError::NoSuch { what: "node", index: node as u64, count });
        }
        let label = format!("host memory of node {node}");
        self.memory.allocate(Reach::Node(node), Kind::Host { shared: false }, true, bytes, label)
    }

    /// Maps another GPU's allocation for `gpu`, as over NVLink. The mapping has an address of its own.
    pub fn map_peer(&mut self, address: u64, gpu: usize) -> Result<u64, MachineError> {
        self.check_gpu(gpu)?;
        let describe = self.memory.describe(address);
        let refuse = |reason| MachineError::NotMappable { address, region: describe.clone(), gpu, reason };
        let region = self.memory.region(address).filter(|r| r.live && r.base == address);
        let region = region.ok_or_else(|| refuse("not the start of a live allocation"))?.clone();
        let (Reach::Gpu(owner), Kind::Device) = (region.reach, region.kind) else {
            return Err(refuse("not a gpu's own memory"));
        };
        if self.node_of(owner) != self.node_of(gpu) {
            return Err(refuse("the gpu is on another node"));
        }
        if owner == gpu {
            return Err(refuse("the gpu owns it"));
        }
        let label = format!("memory of gpu {owner} mapped for gpu {gpu}");
        self.memory.map(Region { reach: Reach::Gpu(gpu), kind: Kind::Peer { owner }, label, ..region })
    }

    /// Ends a peer mapping or a doorbell mapping.
    pub fn unmap(&mut self, address: u64) -> Result<(), MachineError> {
        self.doorbells.retain(|_, page| *page != address);
        self.memory.release(address, false).map(drop)
    }

    /// From here on the hosts of GPUs know of each other only by what their GPUs do, not because nothing runs; or no longer.
    /// They meet here. Of interest to the race check, with [`Hosts::PerGpu`](crate::Hosts::PerGpu).
    pub fn part_hosts(&mut self, apart: bool) {
        if let Some(race) = &mut self.race {
            race.part_hosts(apart);
        }
    }

    fn host_access(&self, address: u64, bytes: usize) -> Result<(usize, usize), MachineError> {
        let access = |f: crate::memory::AccessFault| MachineError::Access { address: f.address, problem: f.kind };
        let region = self.memory.find(address, bytes as u64).map_err(access)?;
        if let Kind::Doorbell { .. } = region.kind {
            let problem = FaultKind::Doorbell("the host does not ring doorbells".into());
            return Err(MachineError::Access { address, problem });
        }
        Ok((region.storage, (address - region.base) as usize))
    }

    /// GPUs whose hosts may access a region.
    fn hosts_of(&self, address: u64) -> std::ops::Range<usize> {
        match self.memory.region(address).map(|region| region.reach) {
            Some(Reach::Gpu(gpu)) => gpu..gpu + 1,
            Some(Reach::Node(node)) => node * self.config.gpus_per_node..(node + 1) * self.config.gpus_per_node,
            None => 0..1,
        }
    }

    pub(crate) fn check_host_read(
        &self,
        address: u64,
        storage: usize,
        offset: usize,
        bytes: usize,
    ) -> Result<(), MachineError> {
        let Some(race) = &self.race else { return Ok(()) };
        race.host_reads(self.hosts_of(address), (storage, offset), bytes).map_err(|report| self.host_raced(report))
    }

    pub(crate) fn check_host_write(
        &mut self,
        address: u64,
        storage: usize,
        offset: usize,
        bytes: usize,
    ) -> Result<(), MachineError> {
        let gpus = self.hosts_of(address);
        if let Some(weak) = &mut self.weak {
            weak.settle(Place::Global(storage), offset, bytes);
        }
        let Some(race) = &mut self.race else { return Ok(()) };
        let checked = race.host_writes(gpus, storage, offset, bytes);
        checked.map_err(|report| self.host_raced(report))
    }

    #[cold]
    fn host_raced(&self, mut report: Box<crate::RaceReport>) -> MachineError {
        race::locate(&self.memory, &mut report);
        MachineError::Race(report)
    }

    /// As [`Machine::read`], in the order of a stream that has run dry, or come as far as the caller waited for: what writes
    /// there later must be ordered behind it.
    ///
    /// # Errors
    /// As [`Machine::read`].
    pub fn read_behind(
        &mut self,
        gpu: usize,
        stream: crate::StreamId,
        address: u64,
        into: &mut [u8],
    ) -> Result<(), MachineError> {
        self.read(address, into)?;
        let (storage, offset) = self.host_access(address, into.len())?;
        let Some(race) = &mut self.race else { return Ok(()) };
        let checked = race.stream_reads((gpu, stream.0), storage, offset, into.len());
        checked.map_err(|report| self.host_raced(report))
    }

    /// Reads memory of any GPU or host; bytes that nobody wrote are an error when that is checked.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MachineError> {
        let (storage, offset) = self.host_access(address, into.len())?;
        self.check_host_read(address, storage, offset, into.len())?;
        let storage = self.memory.storage(storage);
        if let Some(at) = storage.first_uninitialized(offset, into.len()) {
            let address = address + (at - offset) as u64;
            return Err(MachineError::Access { address, problem: FaultKind::Uninitialized });
        }
        storage.read(offset, into);
        Ok(())
    }

    /// Reads memory whether written or not; what nobody wrote has any value.
    pub fn read_raw(&self, address: u64, into: &mut [u8]) -> Result<(), MachineError> {
        let (storage, offset) = self.host_access(address, into.len())?;
        self.check_host_read(address, storage, offset, into.len())?;
        self.memory.storage(storage).read(offset, into);
        Ok(())
    }

    /// Looks at memory from outside, as a debugger does: no access of the host's, so nothing can race with it.
    pub fn peek(&self, address: u64, into: &mut [u8]) -> Result<(), MachineError> {
        let (storage, offset) = self.host_access(address, into.len())?;
        self.memory.storage(storage).read(offset, into);
        Ok(())
    }

    /// Writes memory.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MachineError> {
        let (storage, offset) = self.host_access(address, bytes.len())?;
        self.check_host_write(address, storage, offset, bytes.len())?;
        self.memory.put_bytes(storage, offset, bytes);
        self.wake_watchers();
        Ok(())
    }

    /// Writes `bytes` times the same byte.
    pub fn fill(&mut self, address: u64, byte: u8, bytes: u64) -> Result<(), MachineError> {
        let size =
            usize::try_from(bytes).map_err(|_| MachineError::Size { what: "fill", bytes, max: usize::MAX as u64 })?;
        let (storage, offset) = self.host_access(address, size)?;
        self.check_host_write(address, storage, offset, size)?;
        self.memory.fill(storage, offset, size, byte);
        self.wake_watchers();
        Ok(())
    }

    /// Loads a module: parses it, decodes every function, and lays out its variables on every GPU.
    pub fn load_module(&mut self, name: &str, text: &str) -> Result<ModuleId, LoadError> {
        let module = warpferry_ptx::parse(name, text)
            .map_err(|e| LoadError::Parse { module: name.to_string(), message: e.to_string() })?;
        let narrow = module.address_size != 64;
        let size = narrow.then(|| format!(".address_size {}: only 64 is supported", module.address_size));
        if let Some(message) = size.or_else(|| target::refused(&module.targets)) {
            return Err(LoadError::Parse { module: name.to_string(), message });
        }
        let strict = self.config.checks.uninitialized;
        let mistyped = if strict { BTreeMap::new() } else { mistyped(&module) };
        let (mut programs, mut broken) = (BTreeMap::new(), BTreeMap::new());
        for (index, function) in module.functions.iter().enumerate() {
            // Functions are linked on their own too, so that errors in unused ones are found.
            if function.body.is_none() || !(strict || function.is_entry) {
                continue;
            }
            let known = mistyped.get(&function.name).cloned().map_or(Ok(()), Err);
            match known.and_then(|()| isa::link(&module, index, strict)) {
                Ok(mut program) if function.is_entry => {
                    program.marks = self.config.coverage.then(|| Marks::new(program.code.len()));
                    programs.insert(function.name.clone(), Arc::new(program));
                }
                Ok(_) => {}
                Err(error) if strict => return Err(error),
                Err(error) => {
                    broken.insert(function.name.clone(), error);
                }
            }
        }
        // Of several entries, the one that is asked for says what is wrong with it.
        if let (true, [error]) = (programs.is_empty(), &broken.values().collect::<Vec<_>>()[..]) {
            return Err((*error).clone());
        }
        let memory_error = |cause| LoadError::Memory { module: name.to_string(), cause };
        let mut variables = Vec::with_capacity(self.gpus.len());
        for gpu in 0..self.gpus.len() {
            let mut addresses = Vec::with_capacity(module.variables.len());
            for variable in &module.variables {
                let bytes = variable.elements.map_or(0, |n| n.saturating_mul(variable.ty.bytes() as u64));
                if !matches!(variable.space, Space::Global | Space::Const) || bytes == 0 {
                    addresses.push(0);
                    continue;
                }
                let constant = variable.space == Space::Const;
                if constant && bytes > CONSTANT_BYTES_MAX {
                    return Err(memory_error(MachineError::Size {
                        what: "a constant variable",
                        bytes,
                        max: CONSTANT_BYTES_MAX,
                    }));
                }
                let kind = if constant { Kind::Constant } else { Kind::Device };
                let label = format!("variable {} of {name}", variable.name);
                let address = self.memory.allocate(Reach::Gpu(gpu), kind, !constant, bytes, label);
                let address = address.map_err(memory_error)?;
                // Variables without an initial value start as zero.
                let mut initial = vec![0; bytes as usize];
                initial[..variable.init.len()].copy_from_slice(&variable.init);
                self.write(address, &initial).map_err(memory_error)?;
                self.gpus[gpu].used_bytes += if constant { 0 } else { bytes };
                addresses.push(address);
            }
            self.write_addresses(&module, &addresses).map_err(memory_error)?;
            variables.push(Arc::new(addresses));
        }
        let names = module.variables.iter().map(|v| v.name.clone()).collect();
        self.modules.push(Module { name: name.to_string(), programs, broken, variables, names });
        Ok(ModuleId(self.modules.len() as u32 - 1))
    }

    /// Writes the addresses among the initial values of a module's variables on one GPU.
    fn write_addresses(&mut self, module: &warpferry_ptx::ast::Module, addresses: &[u64]) -> Result<(), MachineError> {
        for (variable, &start) in module.variables.iter().zip(addresses) {
            for initial in &variable.addresses {
                let named = module.variables.iter().position(|v| v.name == initial.symbol);
                let value = match named {
                    Some(index) => addresses[index],
                    None => isa::function_value(module, &initial.symbol).unwrap_or(0),
                };
                let value = value.wrapping_add(initial.offset as u64) >> initial.byte_shift.unwrap_or(0);
                self.write(start + initial.at, &value.to_le_bytes()[..initial.bytes as usize])?;
            }
        }
        Ok(())
    }

    /// Forgets a module's entries and frees its variables; launches that were made go on without them.
    pub fn unload_module(&mut self, module: ModuleId) -> Result<(), MachineError> {
        self.module(module)?;
        let module = &mut self.modules[module.0 as usize];
        module.programs.clear();
        module.broken.clear();
        module.names.clear();
        for address in std::mem::take(&mut module.variables).iter().flat_map(|v| v.iter().copied()) {
            if address != 0 {
                self.free(address)?;
            }
        }
        Ok(())
    }

    pub(crate) fn module(&self, module: ModuleId) -> Result<&Module, MachineError> {
        self.modules.get(module.0 as usize).ok_or(MachineError::NoSuch {
            what: "module",
            index: module.0 as u64,
            count: self.modules.len() as u64,
        })
    }

    pub(crate) fn program(&self, module: ModuleId, entry: &str) -> Result<&Arc<Program>, MachineError> {
        let module = self.module(module)?;
        if let Some(error) = module.broken.get(entry) {
            return Err(MachineError::Unloadable(Box::new(error.clone())));
        }
        module
            .programs
            .get(entry)
            .ok_or_else(|| MachineError::NoSuchEntry { module: module.name.clone(), entry: entry.to_string() })
    }

    /// What an entry asks for.
    pub fn entry_info(&self, module: ModuleId, entry: &str) -> Result<EntryInfo, MachineError> {
        Ok(self.program(module, entry)?.info.clone())
    }

    /// Which instructions of an entry have run so far, in the source's order; none unless the machine marks them.
    pub fn coverage(&self, module: ModuleId, entry: &str) -> Result<Vec<Covered>, MachineError> {
        Ok(coverage::covered(self.program(module, entry)?).unwrap_or_default())
    }

    /// Modules that were loaded, those that were unloaded too.
    pub fn modules(&self) -> impl Iterator<Item = ModuleId> {
        (0..self.modules.len() as u32).map(ModuleId)
    }

    /// Names of a module's entries.
    pub fn entries(&self, module: ModuleId) -> Result<Vec<String>, MachineError> {
        let module = self.module(module)?;
        Ok(module.programs.keys().chain(module.broken.keys()).cloned().collect())
    }

    /// Address of a module's global or constant variable on a GPU, if it has one of this name.
    pub fn variable_address(&self, module: ModuleId, gpu: usize, name: &str) -> Result<Option<u64>, MachineError> {
        self.check_gpu(gpu)?;
        let module = self.module(module)?;
        let index = module.names.iter().position(|n| n == name);
        Ok(index.map(|i| module.variables[gpu][i]).filter(|&address| address != 0))
    }

    /// The NIC of a GPU.
    pub fn nic(&self, gpu: usize) -> Result<NicId, MachineError> {
        self.check_gpu(gpu)?;
        Ok(self.nics[gpu])
    }

    /// The network, for what this machine has no call of its own: connecting, faults, delays, counters.
    ///
    /// Register memory and create queue pairs with the machine's calls; the bus visibility check does not know
    /// memory that was registered here.
    pub fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Registers memory with a GPU's NIC. The memory must be of the same node.
    pub fn register_memory(
        &mut self,
        gpu: usize,
        address: u64,
        bytes: u64,
        rights: Rights,
    ) -> Result<MemoryRegion, MachineError> {
        self.check_gpu(gpu)?;
        self.track(address, bytes)?;
        let nic = self.nics[gpu];
        self.network.register(nic, address, bytes, rights).map_err(|e| MachineError::Nic(e.to_string()))
    }

    /// Creates a queue pair on a GPU's NIC.
    pub fn create_queue_pair(&mut self, gpu: usize, config: QueueConfig) -> Result<QueuePair, MachineError> {
        self.check_gpu(gpu)?;
        self.track(config.send_queue_address, config.send_queue_entries as u64 * 64)?;
        self.track(config.doorbell_record_address, 8)?;
        self.time_queue(gpu, &config);
        let nic = self.nics[gpu];
        let made = self.network.create_queue_pair(nic, config).map_err(|e| MachineError::Nic(e.to_string()))?;
        self.queue_pairs.insert(made.number.0, gpu);
        Ok(made)
    }

    /// The clock knows where a queue pair's entries and record lie.
    fn time_queue(&mut self, gpu: usize, config: &QueueConfig) {
        let Some(clock) = &mut self.clock else { return };
        clock.queue_pair_made(gpu);
        let ranges =
            [(config.send_queue_address, config.send_queue_entries as u64 * 64), (config.doorbell_record_address, 8)];
        for (address, bytes) in ranges {
            if let (Ok(region), Some(meter)) = (self.memory.find(address, bytes), &mut clock.meter) {
                let start = address - region.base;
                meter.queues.add(region.storage, start, start + bytes);
            }
        }
    }

    /// Stores into this memory must be made visible to the bus.
    fn track(&mut self, address: u64, bytes: u64) -> Result<(), MachineError> {
        let (storage, _) = self.host_access(address, bytes as usize)?;
        self.memory.storage_mut(storage).tracked = true;
        Ok(())
    }

    /// Maps the doorbell page of `nic_gpu`'s NIC for a GPU of the same node; a queue pair's doorbell lies at its
    /// offset in the page. Asking again gives the same address.
    pub fn map_doorbell(&mut self, nic_gpu: usize, gpu: usize) -> Result<u64, MachineError> {
        self.check_gpu(gpu)?;
        let nic = self.nic(nic_gpu)?;
        if let Some(&address) = self.doorbells.get(&(nic.0, gpu)) {
            return Ok(address);
        }
        if self.node_of(nic_gpu) != self.node_of(gpu) {
            let region = format!("doorbell page of {nic}");
            return Err(MachineError::NotMappable { address: 0, region, gpu, reason: "the gpu is on another node" });
        }
        let label = format!("doorbell page of {nic}");
        let kind = Kind::Doorbell { nic };
        let address = self.memory.allocate(Reach::Gpu(gpu), kind, true, DOORBELL_PAGE_BYTES, label)?;
        self.doorbells.insert((nic.0, gpu), address);
        Ok(address)
    }
}

/// By function, the first instruction whose operands are not what the instruction table says. Modifiers are left to the
/// emulator, which is freer in their order, as the assembler is.
fn mistyped(module: &warpferry_ptx::ast::Module) -> BTreeMap<String, LoadError> {
    use warpferry_ptx::table::Problem;
    let mut found = BTreeMap::new();
    for diagnostic in warpferry_ptx::check(module) {
        if let Problem::Operand { .. } | Problem::OperandCount { .. } | Problem::Call { .. } = diagnostic.problem {
            let text = diagnostic.to_string();
            let reason = text.rsplit_once("`: ").map_or(text.as_str(), |(_, reason)| reason).to_string();
            found.entry(diagnostic.function.clone()).or_insert(LoadError::Instruction {
                file: diagnostic.file,
                line: diagnostic.line,
                instruction: diagnostic.instruction,
                reason,
            });
        }
    }
    found
}
