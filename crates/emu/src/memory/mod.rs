//! The address space: regions over storages.
//!
//! One space serves the whole machine. `address >> 32` names a slot of regions, so an access beyond a region's end
//! never lands in another region, and slots are not used again, so stale pointers are found. A peer mapping is a
//! second region over the same storage.

mod shared;
mod storage;

pub use shared::SharedBytes;
pub(crate) use storage::{Snapshot, Storage};

use crate::error::{FaultKind, MachineError};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Generic address of byte 0 of the executing CTA's shared memory.
pub const SHARED_WINDOW: u64 = 1 << 32;
/// Bytes at the start of every CTA's shared memory that belong to the system, as on GPUs since compute capability 8.0:
/// variables lie behind them, so a kernel that forgets the base of its shared memory is found.
pub const RESERVED_SHARED_BYTES: u32 = 1024;
/// Generic address of byte 0 of the executing thread's local memory.
pub const LOCAL_WINDOW: u64 = 2 << 32;
/// Addresses of functions begin here; nothing is mapped.
pub(crate) const FUNCTION_WINDOW: u64 = 4 << 32;
/// First slot that holds regions.
const FIRST_SLOT: usize = 16;
/// Most slots: 56-bit addresses. A slot is used once, so that a stale pointer is always found.
const SLOTS: usize = 1 << 24;
/// Bytes that one slot can hold; the rest is a guard.
const SLOT_BYTES: u64 = 1 << 32;
/// No region in this slot.
const EMPTY: u32 = u32::MAX;

/// A resident warp: slot of its CTA, the CTA's number over the machine's life, and the warp's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WarpRef {
    pub slot: u32,
    pub warp: u32,
    pub serial: u64,
}

/// Who may use a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// One GPU.
    Gpu(usize),
    /// Every GPU of a node, and its host.
    Node(usize),
}

/// What a region is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A GPU's own memory.
    Device,
    /// Host memory mapped into every GPU of its node; `shared` when threads of the host use it without this machine.
    Host { shared: bool },
    /// Another GPU's memory over NVLink.
    Peer { owner: usize },
    /// Doorbell page of a NIC.
    Doorbell { nic: warpferry_nic::NicId },
    /// A module's constants.
    Constant,
}

#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub base: u64,
    pub bytes: u64,
    pub storage: usize,
    pub reach: Reach,
    pub kind: Kind,
    pub writable: bool,
    pub live: bool,
    pub label: String,
}

/// A permitted range inside one region, so that the lanes of a warp are checked against two numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// First permitted address.
    pub low: u64,
    /// One past the last.
    pub high: u64,
    /// Address of byte 0 of the storage.
    pub base: u64,
    pub storage: usize,
    pub kind: Kind,
}

/// What an address range is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Read,
    Write,
    /// Atomics.
    Both,
}

/// A permission of a launch's contract. With no rules every access that the mappings allow is permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// First address.
    pub address: u64,
    /// Length; `None` to the end of the region.
    pub bytes: Option<u64>,
    /// Reads are permitted.
    pub read: bool,
    /// Writes are permitted.
    pub write: bool,
}

/// Who accesses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Viewer<'a> {
    pub gpu: usize,
    pub node: usize,
    pub rules: &'a [AccessRule],
}

/// A failed access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccessFault {
    pub kind: FaultKind,
    pub address: u64,
}

/// All memory of the machine but the CTAs' own.
#[derive(Debug)]
pub(crate) struct Memory {
    slots: Vec<u32>,
    regions: Vec<Region>,
    /// Regions over each storage: its own and its aliases.
    uses: HashMap<usize, Vec<u32>>,
    storages: Vec<Option<Storage>>,
    shadowed: bool,
    /// Storages that threads of the host use too.
    shared: BTreeSet<usize>,
    /// Viewer and owner: GPUs that use another GPU's memory at the owner's address.
    pub peers: HashSet<(usize, usize)>,
    /// Warps whose watched words were written; the scheduler takes them after every step.
    pub woken: Vec<WarpRef>,
    /// Counts changes, so that a stall can tell whether anything happened.
    pub changes: u64,
    spare: Snapshot,
}

impl Memory {
    pub fn new(shadowed: bool) -> Memory {
        Memory {
            slots: vec![EMPTY; FIRST_SLOT],
            regions: Vec::new(),
            uses: HashMap::new(),
            storages: Vec::new(),
            shadowed,
            shared: BTreeSet::new(),
            peers: HashSet::new(),
            woken: Vec::new(),
            changes: 0,
            spare: Snapshot::default(),
        }
    }

    /// A new region over new bytes.
    pub fn allocate(
        &mut self,
        reach: Reach,
        kind: Kind,
        writable: bool,
        bytes: u64,
        label: String,
    ) -> Result<u64, MachineError> {
        let size = allocation_size(bytes)?;
        let storage = match kind {
            Kind::Host { shared: true } => {
                self.shared.insert(self.storages.len());
                Storage::shared(SharedBytes::new(size))
            }
            _ => Storage::new(size, self.shadowed),
        };
        self.storages.push(Some(storage));
        let storage = self.storages.len() - 1;
        self.map(Region { base: 0, bytes, storage, reach, kind, writable, live: true, label })
    }

    /// Gives `region` an address.
    pub fn map(&mut self, mut region: Region) -> Result<u64, MachineError> {
        let count = region.bytes.div_ceil(SLOT_BYTES - (1 << 16)) as usize;
        if self.slots.len() + count > SLOTS {
            return Err(MachineError::OutOfAddresses);
        }
        region.base = (self.slots.len() as u64) << 32;
        let (base, id) = (region.base, self.regions.len() as u32);
        self.uses.entry(region.storage).or_default().push(id);
        self.regions.push(region);
        self.slots.extend(std::iter::repeat_n(id, count));
        Ok(base)
    }

    /// Ends the region that starts at `address`; frees the bytes when `own`, and with them every alias.
    pub fn release(&mut self, address: u64, own: bool) -> Result<Region, MachineError> {
        let what = if own { "allocation" } else { "mapping" };
        let fail = |memory: &Memory| MachineError::NotAnAllocation { address, what, region: memory.describe(address) };
        let Some(index) = self.index(address) else { return Err(fail(self)) };
        let region = &self.regions[index];
        let is_own = matches!(region.kind, Kind::Device | Kind::Host { .. } | Kind::Constant);
        if region.base != address || !region.live || is_own != own {
            return Err(fail(self));
        }
        self.regions[index].live = false;
        let region = self.regions[index].clone();
        if own {
            for alias in self.uses.remove(&region.storage).unwrap_or_default() {
                self.regions[alias as usize].live = false;
            }
            self.storages[region.storage] = None;
            self.shared.remove(&region.storage);
        }
        Ok(region)
    }

    fn index(&self, address: u64) -> Option<usize> {
        let slot = usize::try_from(address >> 32).ok()?;
        self.slots.get(slot).filter(|&&id| id != EMPTY).map(|&id| id as usize)
    }

    /// The region that `address` belongs to, live or not.
    pub fn region(&self, address: u64) -> Option<&Region> {
        self.index(address).map(|i| &self.regions[i])
    }

    pub fn storage(&self, id: usize) -> &Storage {
        self.storages[id].as_ref().expect("a live region has a storage")
    }

    pub fn storage_mut(&mut self, id: usize) -> &mut Storage {
        self.storages[id].as_mut().expect("a live region has a storage")
    }

    /// A storage that may have been freed, to change it.
    pub fn storage_if_live(&mut self, id: usize) -> Option<&mut Storage> {
        self.storages.get_mut(id).and_then(Option::as_mut)
    }

    /// A storage that may have been freed.
    pub fn storage_if_alive(&self, id: usize) -> Option<&Storage> {
        self.storages.get(id).and_then(Option::as_ref)
    }

    /// Words for the place of `address`.
    pub fn describe(&self, address: u64) -> String {
        match address >> 32 {
            0 if address == 0 => return "null".to_string(),
            0 => return "a bare offset".to_string(),
            1 => return format!("shared window +{:#x}", address & 0xffff_ffff),
            4 => return "address of a function".to_string(),
            2 => return format!("local window +{:#x}", address & 0xffff_ffff),
            _ => {}
        }
        match self.region(address) {
            None => "unmapped".to_string(),
            Some(region) => {
                let freed = if region.live { "" } else { ", freed" };
                format!(
                    "{} [{:#x}, {} bytes]{freed}, offset {:#x}",
                    region.label,
                    region.base,
                    region.bytes,
                    address - region.base
                )
            }
        }
    }

    /// Region of `bytes` at `address`: bounds and life, no rights.
    pub fn find(&self, address: u64, bytes: u64) -> Result<&Region, AccessFault> {
        let fail = |kind| AccessFault { kind, address };
        let region = self.region(address).ok_or_else(|| fail(FaultKind::Unmapped))?;
        if !region.live {
            return Err(fail(FaultKind::Freed));
        }
        if address.saturating_add(bytes) > region.base + region.bytes {
            return Err(fail(FaultKind::OutOfBounds { bytes }));
        }
        Ok(region)
    }

    /// The permitted window around `address` for this viewer.
    pub fn window(&self, viewer: &Viewer, address: u64, bytes: u64, need: Need) -> Result<Window, AccessFault> {
        let region = self.find(address, bytes)?;
        let fail = |kind| AccessFault { kind, address };
        let act = if need == Need::Read { "read" } else { "write" };
        let kind = match (region.reach, region.kind) {
            (Reach::Gpu(gpu), kind) if gpu == viewer.gpu => kind,
            (Reach::Node(node), kind) if node == viewer.node => kind,
            (Reach::Gpu(owner), Kind::Device) if self.peers.contains(&(viewer.gpu, owner)) => Kind::Peer { owner },
            _ => return Err(fail(FaultKind::Rights { act, reason: "not mapped for this gpu" })),
        };
        if need != Need::Read && !region.writable {
            return Err(fail(FaultKind::Rights { act, reason: "the region is read-only" }));
        }
        let (mut low, mut high) = (region.base, region.base + region.bytes);
        if !viewer.rules.is_empty() && !matches!(region.kind, Kind::Constant) {
            let rule = viewer.rules.iter().find(|rule| {
                let end = rule.bytes.map_or(high, |n| rule.address.saturating_add(n));
                let allowed = (rule.read || need == Need::Write) && (rule.write || need == Need::Read);
                allowed && rule.address >= low && rule.address <= address && address + bytes <= end
            });
            let rule = rule.ok_or_else(|| fail(FaultKind::Contract { act }))?;
            high = rule.bytes.map_or(high, |n| high.min(rule.address.saturating_add(n)));
            low = rule.address;
        }
        Ok(Window { low, high, base: region.base, storage: region.storage, kind })
    }

    /// Host or NIC write of initialized bytes into a checked range.
    pub fn put_bytes(&mut self, storage: usize, offset: usize, bytes: &[u8]) {
        let target = self.storages[storage].as_mut().expect("a live region has a storage");
        self.changes += target.write(offset, bytes) as u64;
        if target.is_watched() {
            target.touched(offset, bytes.len(), &mut self.woken);
        }
    }

    /// NIC atomic on an initialized, aligned word of a checked range; the old value.
    pub fn update_word(&mut self, storage: usize, offset: usize, new: impl Fn(u64) -> u64) -> u64 {
        let target = self.storages[storage].as_mut().expect("a live region has a storage");
        let (old, next) = target.update(offset, 8, new);
        self.changes += (old != next) as u64;
        if target.is_watched() {
            target.touched(offset, 8, &mut self.woken);
        }
        old
    }

    /// Writes `bytes` times the same byte into a checked range.
    pub fn fill(&mut self, storage: usize, offset: usize, bytes: usize, byte: u8) {
        let target = self.storages[storage].as_mut().expect("a live region has a storage");
        target.fill(offset, bytes, byte);
        self.changes += 1;
        if target.is_watched() {
            target.touched(offset, bytes, &mut self.woken);
        }
    }

    /// Warps that watch words which threads of the host may change.
    pub fn shared_watchers(&self) -> BTreeSet<WarpRef> {
        self.shared.iter().flat_map(|&id| self.storage(id).watchers()).collect()
    }

    /// The first address of a storage, in the mapping of its owner.
    pub fn address_of(&self, storage: usize) -> Option<u64> {
        self.regions.iter().find(|r| r.storage == storage).map(|r| r.base)
    }

    /// Writes a snapshot into a checked range and wakes whoever watches it.
    pub fn put(&mut self, storage: usize, offset: usize, piece: &Snapshot) {
        let target = self.storages[storage].as_mut().expect("a live region has a storage");
        target.put(offset, piece);
        self.changes += 1;
        if target.is_watched() {
            target.touched(offset, piece.bytes.len(), &mut self.woken);
        }
    }

    /// A checked range has changed: wakes whoever watches it.
    pub fn wake(&mut self, storage: usize, offset: usize, bytes: usize) {
        let target = self.storages[storage].as_mut().expect("a live region has a storage");
        self.changes += 1;
        if target.is_watched() {
            target.touched(offset, bytes, &mut self.woken);
        }
    }

    /// Copies between checked ranges with the shadow.
    pub fn copy(&mut self, from: (usize, usize), to: (usize, usize), bytes: usize) {
        let mut spare = std::mem::take(&mut self.spare);
        self.storage(from.0).take(from.1, bytes, &mut spare);
        self.put(to.0, to.1, &spare);
        self.spare = spare;
    }
}

/// Size of an allocation, when it can be had at all.
fn allocation_size(bytes: u64) -> Result<usize, MachineError> {
    let most = SLOT_BYTES * 64;
    let wrong = MachineError::Size { what: "allocation", bytes, max: most };
    if bytes == 0 || bytes > most {
        return Err(wrong);
    }
    usize::try_from(bytes).map_err(|_| wrong)
}
