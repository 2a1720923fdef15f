//! A machine beside real time: host threads share memory with its kernels, it runs in slices, and time passes when it
//! is told to.
//!
//! [`Machine::run`] lets time jump when nothing can move: what the host does happens between runs. A host that acts
//! while kernels run calls [`Machine::run_slice`] again and again. When nothing can move, it waits, looks for its own
//! stores with [`Machine::poke_shared`], and lets as much time pass as really has.

use crate::error::{Fault, MachineError};
use crate::machine::Machine;
use crate::memory::{Kind, Reach, SharedBytes};

/// Time after which warps that wait for words look at the clock again.
const LOOK_NS: u64 = 1_000_000;

/// How a slice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    /// There is more to do at once.
    More,
    /// Nothing can move before a word changes, or time comes that somebody waits for.
    Waiting {
        /// The first time that somebody waits for.
        until_ns: Option<u64>,
    },
    /// Nothing is left to do.
    Idle,
}

impl Machine {
    /// Host memory that all GPUs of a node can use at one address, and threads of the host at the same time: they need
    /// neither this machine nor its leave. [`Machine::free`] ends the mapping; the bytes live as long as a clone.
    pub fn alloc_host_shared(&mut self, node: usize, bytes: u64) -> Result<(u64, SharedBytes), MachineError> {
        if node >= self.config.nodes {
            let count = self.config.nodes as u64;
            return Err(MachineError::NoSuch { what: "node", index: node as u64, count });
        }
        let label = format!("shared host memory of node {node}");
        let address = self.memory.allocate(Reach::Node(node), Kind::Host { shared: true }, true, bytes, label)?;
        let storage = self.memory.region(address).expect("it was made just now").storage;
        let words = self.memory.storage(storage).words().expect("it was made of words");
        Ok((address, words.clone()))
    }

    /// Lets a GPU use the memory of another one of its node at the owner's addresses, present and future allocations.
    pub fn enable_peer(&mut self, gpu: usize, owner: usize) -> Result<(), MachineError> {
        self.check_gpu(gpu)?;
        self.check_gpu(owner)?;
        let region = format!("memory of gpu {owner}");
        let refuse = |reason| MachineError::NotMappable { address: 0, region: region.clone(), gpu, reason };
        if gpu == owner {
            return Err(refuse("the gpu owns it"));
        }
        if self.node_of(gpu) != self.node_of(owner) {
            return Err(refuse("the gpu is on another node"));
        }
        self.memory.peers.insert((gpu, owner));
        Ok(())
    }

    /// Ends what [`Machine::enable_peer`] began; false when it had not.
    pub fn disable_peer(&mut self, gpu: usize, owner: usize) -> bool {
        self.memory.peers.remove(&(gpu, owner))
    }

    /// Lets agents act, at most `actions` times. Time goes on by what they do, and never jumps.
    pub fn run_slice(&mut self, actions: usize) -> Result<Slice, Fault> {
        self.advance_streams();
        for _ in 0..actions {
            if let Some(fault) = self.fresh_fault() {
                return Err(fault);
            }
            if !self.act() {
                if self.is_idle() {
                    return Ok(Slice::Idle);
                }
                return Ok(Slice::Waiting { until_ns: self.next_time() });
            }
        }
        match self.fresh_fault() {
            Some(fault) => Err(fault),
            None => Ok(Slice::More),
        }
    }

    /// A number that grows whenever something happens which a host may wait for.
    pub fn progress(&self) -> u64 {
        self.memory.changes
    }

    /// Wakes the warps that wait for a word of shared host memory which has changed; whether there was one.
    pub fn poke_shared(&mut self) -> bool {
        let mut any = false;
        for warp in self.memory.shared_watchers() {
            let cta = self.ctas[warp.slot as usize].as_ref().filter(|cta| cta.state.serial == warp.serial);
            if cta.is_some_and(|cta| cta.warps[warp.warp as usize].interval.is_stale(&self.memory)) {
                self.unpark(warp);
                any = true;
            }
        }
        any
    }

    /// Time passes without anyone acting: sleeps end, NICs go on, and now and then all who wait look at the clock.
    pub fn let_time_pass(&mut self, ns: u64) {
        let before = self.now_ns;
        self.now_ns = before.saturating_add(ns);
        self.wake_sleepers();
        self.network.advance(self.now_ns);
        self.waited_ns += ns;
        if self.waited_ns >= LOOK_NS {
            self.waited_ns = 0;
            self.wake_all();
        }
    }
}
