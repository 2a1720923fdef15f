//! Handles, contexts and GPUs.

use crate::engine::{engine, Turn};
use crate::graph::Graphs;
use crate::hold::Holds;
use crate::left::Left;
use crate::memory::Blocks;
use crate::module::Modules;
use crate::result::{codes, fail, Outcome};
use crate::settings::settings;
use crate::stream::Streams;
use crate::{CUcontext, CUdevice, CUresult};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Instant;
use warpferry_emu::{Fault, FaultKind, Machine};

thread_local! {
    /// This thread's stack of contexts; the last one is current. Zero is none.
    static CURRENT: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Pushes without their pops, of all threads.
static PUSHED: AtomicIsize = AtomicIsize::new(0);

/// Everything behind the interface.
#[derive(Debug)]
pub(crate) struct State {
    pub machine: Machine,
    pub devices: Vec<Device>,
    pub contexts: BTreeMap<u64, Context>,
    pub streams: Streams,
    pub modules: Modules,
    pub graphs: Graphs,
    pub blocks: Blocks,
    /// Since when nothing moves and the machine's clock has to follow the real one.
    pub still_since: Option<Instant>,
    /// Work that is held back, if any is to be.
    pub holds: Option<Holds>,
    /// Things that went with their contexts instead of being ended.
    pub lost: Left,
    /// Copies that went through the host for want of peer access.
    pub staged: u64,
    next_handle: u64,
}

/// A GPU.
#[derive(Debug, Default)]
pub(crate) struct Device {
    /// What every call gives since a fault, and the fault in words.
    pub broken: Option<(CUresult, String)>,
    /// The primary context and how often it is retained.
    pub primary: Option<(u64, u64)>,
    /// Streams made so far: they take hardware queues in turn.
    pub streams_made: u32,
}

/// A context.
#[derive(Debug)]
pub(crate) struct Context {
    pub device: usize,
    pub is_primary: bool,
    /// Contexts whose memory this one may use.
    pub peers: BTreeSet<u64>,
}

/// A context of a call: its handle and its GPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    pub context: u64,
    pub device: usize,
}

/// What a handle stands for, as its highest byte: handles of one kind are never those of another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Context = 0xc0,
    Module = 0xc1,
    Function = 0xc2,
    Stream = 0xc3,
    Event = 0xc4,
    Graph = 0xc5,
    ReadyGraph = 0xc6,
}

/// A handle for the C side.
pub(crate) fn pointer(handle: u64) -> *mut c_void {
    std::ptr::without_provenance_mut(handle as usize)
}

/// A handle from the C side.
pub(crate) fn handle(pointer: *mut c_void) -> u64 {
    pointer.addr() as u64
}

impl State {
    pub fn new(machine: Machine) -> State {
        let devices = (0..machine.gpus()).map(|_| Device::default()).collect();
        State {
            machine,
            devices,
            contexts: BTreeMap::new(),
            streams: Streams::default(),
            modules: Modules::default(),
            graphs: Graphs::default(),
            blocks: Blocks::default(),
            still_since: None,
            holds: settings().hold.map(Holds::new),
            lost: Left::default(),
            staged: 0,
            next_handle: 1,
        }
    }

    /// Lets the machine's clock follow the real one while nothing moves.
    pub fn catch_up(&mut self) {
        if let Some(since) = self.still_since {
            let now = Instant::now();
            self.still_since = Some(now);
            self.machine.let_time_pass(u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// A handle that nothing else ever had.
    pub fn new_handle(&mut self, kind: Kind) -> u64 {
        self.next_handle += 1;
        (kind as u64) << 56 | self.next_handle << 4
    }

    /// A GPU by its ordinal.
    pub fn device(&self, device: CUdevice) -> Outcome<usize> {
        match usize::try_from(device) {
            Ok(index) if index < self.devices.len() => Ok(index),
            _ => fail(codes::ERROR_INVALID_DEVICE, format!("device {device}: there are {}", self.devices.len())),
        }
    }

    /// A context by its handle.
    pub fn context(&self, context: u64) -> Outcome<&Context> {
        match self.contexts.get(&context) {
            Some(found) => Ok(found),
            None if context >> 56 == Kind::Context as u64 && context >> 4 & 0xffff_ffff <= self.next_handle => {
                fail(codes::ERROR_CONTEXT_IS_DESTROYED, format!("context {context:#x} was destroyed"))
            }
            None => fail(codes::ERROR_INVALID_CONTEXT, format!("{context:#x} is no context")),
        }
    }

    /// Makes a context with its default stream.
    pub fn make_context(&mut self, device: usize, is_primary: bool) -> Outcome<u64> {
        self.check_device(device)?;
        let context = self.new_handle(Kind::Context);
        self.contexts.insert(context, Context { device, is_primary, peers: BTreeSet::new() });
        self.make_default_stream(Here { context, device })?;
        Ok(context)
    }

    /// Frees all that belongs to a context; its streams have run dry or its GPU is broken.
    pub fn drop_context(&mut self, here: Here) {
        self.lost.add(self.count_left(Some(here.context)));
        self.drop_streams(here.context);
        self.drop_modules(here.context);
        self.drop_graphs(here.context);
        self.drop_blocks(here.context);
        let Some(context) = self.contexts.remove(&here.context) else { return };
        for peer in context.peers {
            self.forget_peer(here.device, peer);
        }
        let users: Vec<u64> =
            self.contexts.iter().filter(|(_, c)| c.peers.contains(&here.context)).map(|(h, _)| *h).collect();
        for user in users {
            let Some(other) = self.contexts.get_mut(&user) else { continue };
            other.peers.remove(&here.context);
            let (from, to) = (other.device, here.device);
            self.unmap_peer(from, to);
        }
    }

    /// `device` no longer uses the memory of the context `peer`.
    pub fn forget_peer(&mut self, device: usize, peer: u64) {
        if let Some(owner) = self.contexts.get(&peer).map(|c| c.device) {
            self.unmap_peer(device, owner);
        }
    }

    /// Ends a mapping between GPUs that no contexts need any more.
    fn unmap_peer(&mut self, device: usize, owner: usize) {
        let needs = |context: &Context| {
            let owns = |peer: &u64| self.contexts.get(peer).is_some_and(|c| c.device == owner);
            context.device == device && context.peers.iter().any(owns)
        };
        if !self.contexts.values().any(needs) {
            self.machine.disable_peer(device, owner);
        }
    }

    /// Whether a context may use the memory of another GPU.
    pub fn is_peer(&self, here: Here, owner: usize) -> bool {
        let peers = self.contexts.get(&here.context).map(|context| &context.peers);
        peers.is_some_and(|peers| peers.iter().any(|p| self.contexts.get(p).is_some_and(|c| c.device == owner)))
    }

    /// The GPU has not faulted.
    pub fn check_device(&self, device: usize) -> Outcome {
        match &self.devices[device].broken {
            None => Ok(()),
            Some((code, why)) => fail(*code, format!("an earlier fault: {why}")),
        }
    }

    /// A fault of a kernel or of work in a stream: its GPU is broken from now on.
    pub fn record_fault(&mut self, fault: &Fault) {
        let code = match fault.kind {
            FaultKind::Misaligned { .. } => codes::ERROR_MISALIGNED_ADDRESS,
            FaultKind::Unmapped
            | FaultKind::Freed
            | FaultKind::OutOfBounds { .. }
            | FaultKind::Uninitialized
            | FaultKind::Rights { .. }
            | FaultKind::Contract { .. } => codes::ERROR_ILLEGAL_ADDRESS,
            _ => codes::ERROR_LAUNCH_FAILED,
        };
        eprintln!("cuda-emu: device {} has faulted ({code}): {fault}", fault.gpu);
        self.devices[fault.gpu].broken.get_or_insert((code, fault.to_string()));
    }

    /// Every GPU is broken.
    pub fn break_all(&mut self, code: CUresult, why: &str) {
        for device in &mut self.devices {
            device.broken.get_or_insert((code, why.to_string()));
        }
    }
}

impl Turn {
    /// Waits until all streams of a context have run dry, or its GPU has faulted.
    pub fn wait_for_context(&mut self, here: Here) {
        self.wait(|state| {
            let broken = state.check_device(here.device).is_err();
            (broken || state.context_is_idle(here.context)).then_some(())
        });
    }

    /// Waits until all streams of a GPU have run dry.
    pub fn wait_for_device(&mut self, device: usize) -> Outcome {
        self.wait(|state| match state.check_device(device) {
            Err(failure) => Some(Err(failure)),
            Ok(()) => state.device_is_idle(device).then_some(Ok(())),
        })
    }

    /// With strict rules: what may wait for all work of the GPU does.
    pub fn wait_if_strict(&mut self, device: usize) -> Outcome {
        if settings().strict_sync {
            return self.wait_for_device(device);
        }
        Ok(())
    }
}

/// The state and the current context, whose GPU has not faulted.
pub(crate) fn here() -> Outcome<(Turn, Here)> {
    let turn = engine()?.turn();
    let here = current_here(&turn)?;
    turn.check_device(here.device)?;
    Ok((turn, here))
}

/// The current context.
pub(crate) fn current_here(state: &State) -> Outcome<Here> {
    let context = current();
    if context == 0 {
        return fail(codes::ERROR_INVALID_CONTEXT, "no context is current in this thread");
    }
    Ok(Here { context, device: state.context(context)?.device })
}

/// The current context's handle; zero when there is none.
pub(crate) fn current() -> u64 {
    CURRENT.with_borrow(|stack| stack.last().copied().unwrap_or(0))
}

/// Replaces the current context; zero removes it.
pub(crate) fn set_current(context: u64) {
    CURRENT.with_borrow_mut(|stack| {
        stack.pop();
        if context != 0 {
            stack.push(context);
        }
    });
}

/// Puts a context on top.
pub(crate) fn push_current(context: u64) {
    PUSHED.fetch_add(1, Ordering::Relaxed);
    CURRENT.with_borrow_mut(|stack| stack.push(context));
}

/// Contexts pushed and not popped, of all threads.
pub(crate) fn pushed() -> usize {
    usize::try_from(PUSHED.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Takes the current context off.
pub(crate) fn pop_current() -> Option<u64> {
    let popped = CURRENT.with_borrow_mut(Vec::pop);
    PUSHED.fetch_sub(isize::from(popped.is_some()), Ordering::Relaxed);
    popped
}

/// A context's handle for the C side.
pub(crate) fn context_pointer(context: u64) -> CUcontext {
    pointer(context)
}
