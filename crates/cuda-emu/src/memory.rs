//! Memory: what is allocated, on the device and on the host.

use crate::result::{codes, fail, invalid, Outcome};
use crate::settings::settings;
use crate::state::{Here, State};
use std::collections::BTreeMap;
use std::ffi::c_void;
use warpferry_emu::{MachineError, SharedBytes};

/// Host addresses begin above this; below it lie those of the machine, for the first many thousand allocations.
const HOST_FROM: u64 = 0x5000_0000_0000;

/// Allocations.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// By address on the device.
    blocks: BTreeMap<u64, Block>,
    /// Device addresses of host memory by address on the host.
    hosts: BTreeMap<u64, u64>,
}

/// An allocation.
#[derive(Debug)]
pub(crate) struct Block {
    pub address: u64,
    pub bytes: u64,
    pub owner: Here,
    pub host: Option<Host>,
}

/// Host memory.
#[derive(Debug)]
pub(crate) struct Host {
    pub memory: SharedBytes,
    pub flags: u32,
}

impl Block {
    /// Address on the host.
    pub fn host_address(&self) -> Option<u64> {
        self.host.as_ref().map(|host| host.memory.as_ptr().addr() as u64)
    }
}

impl Blocks {
    pub fn insert(&mut self, block: Block) {
        if let Some(host) = block.host_address() {
            self.hosts.insert(host, block.address);
        }
        self.blocks.insert(block.address, block);
    }

    pub fn remove(&mut self, address: u64) -> Option<Block> {
        let block = self.blocks.remove(&address)?;
        if let Some(host) = block.host_address() {
            self.hosts.remove(&host);
        }
        Some(block)
    }

    /// The allocation that a device address lies in.
    pub fn at(&self, address: u64) -> Option<&Block> {
        let (_, block) = self.blocks.range(..=address).next_back()?;
        (address - block.address < block.bytes).then_some(block)
    }

    /// The host memory that a host address lies in.
    pub fn at_host(&self, address: u64) -> Option<&Block> {
        let (start, device) = self.hosts.range(..=address).next_back()?;
        let block = self.blocks.get(device)?;
        (address - start < block.bytes).then_some(block)
    }

    /// Bytes that are allocated on a GPU.
    pub fn device_bytes(&self, device: usize) -> u64 {
        let own = |block: &&Block| block.host.is_none() && block.owner.device == device;
        self.blocks.values().filter(own).map(|block| block.bytes).sum()
    }

    /// Allocations of devices and of the host, of one context or of all.
    pub fn count(&self, context: Option<u64>) -> (usize, usize) {
        let own = |block: &&Block| context.is_none_or(|context| block.owner.context == context);
        let (host, device): (Vec<_>, Vec<_>) = self.blocks.values().filter(own).partition(|block| block.host.is_some());
        (device.len(), host.len())
    }

    /// A range within one allocation.
    pub fn range(&self, address: u64, bytes: u64, what: &str) -> Outcome<&Block> {
        let Some(block) = self.at(address) else {
            return invalid(format!("{what} {address:#x} lies in no live allocation"));
        };
        if bytes > block.bytes - (address - block.address) {
            return invalid(format!(
                "{what}: {bytes} bytes at {address:#x} go beyond the allocation of {} at {:#x}",
                block.bytes, block.address
            ));
        }
        Ok(block)
    }

    /// Where a range of host memory lies for a copy.
    pub fn place(&self, pointer: *const c_void, bytes: u64, what: &str) -> Outcome<Place> {
        let address = pointer.addr() as u64;
        if address == 0 {
            return invalid(format!("{what} is null"));
        }
        if let Some(block) = self.at_host(address) {
            let offset = address - block.host_address().unwrap_or(address);
            if bytes > block.bytes - offset {
                return invalid(format!("{what}: {bytes} bytes at {address:#x} go beyond pinned memory"));
            }
            return Ok(Place::Pinned(block.address + offset));
        }
        if address < HOST_FROM && self.at(address).is_some() {
            return invalid(format!("{what} {address:#x} is an address of the device"));
        }
        Ok(Place::Pageable)
    }
}

/// Kinds of host memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Taken with `cuMemHostAlloc`: its address on the device.
    Pinned(u64),
    /// Any other.
    Pageable,
}

impl State {
    /// A range that the work of a stream writes or reads itself: a GPU's only with access to that GPU.
    pub fn reachable(&self, here: Here, address: u64, bytes: u64, what: &str) -> Outcome {
        if self.is_reachable(here, address, bytes, what)? {
            return Ok(());
        }
        invalid(format!(
            "{what} {address:#x} is memory of another device, without peer access from device {}",
            here.device
        ))
    }

    /// A range of a copy: without access to its GPU the copy goes through host memory, which is slow but right. Counted.
    pub fn copied(&mut self, here: Here, address: u64, bytes: u64, what: &str) -> Outcome {
        if !self.is_reachable(here, address, bytes, what)? {
            self.staged += 1;
            if settings().log {
                let (device, count) = (here.device, self.staged);
                eprintln!(
                    "cuda-emu: {what} {address:#x} of a copy is memory of another device, without peer access from \
                     device {device}: copies through the host so far: {count}"
                );
            }
        }
        Ok(())
    }

    fn is_reachable(&self, here: Here, address: u64, bytes: u64, what: &str) -> Outcome<bool> {
        let block = self.blocks.range(address, bytes, what)?;
        let owner = block.owner.device;
        Ok(block.host.is_some() || owner == here.device || self.is_peer(here, owner))
    }

    /// Frees an allocation.
    pub fn free_block(&mut self, address: u64) -> Outcome {
        self.blocks.remove(address);
        self.machine.free(address).or_else(refused)
    }

    /// Frees what a context has not.
    pub fn drop_blocks(&mut self, context: u64) {
        let owned = |(address, block): (&u64, &Block)| (block.owner.context == context).then_some(*address);
        let addresses: Vec<u64> = self.blocks.blocks.iter().filter_map(owned).collect();
        for address in addresses {
            if let Err(failure) = self.free_block(address) {
                eprintln!("cuda-emu: memory {address:#x} of a destroyed context: {}", failure.why);
            }
        }
    }
}

/// The machine refused.
pub(crate) fn refused<T>(error: MachineError) -> Outcome<T> {
    let code = match &error {
        MachineError::OutOfMemory { .. } | MachineError::OutOfAddresses => codes::ERROR_OUT_OF_MEMORY,
        MachineError::Faulted(_) => codes::ERROR_LAUNCH_FAILED,
        MachineError::Capture(error) => crate::graph::code(*error),
        _ => codes::ERROR_INVALID_VALUE,
    };
    fail(code, error.to_string())
}
