//! Registered memory and its keys.

use crate::config::{NicId, Rights};
use crate::error::{Cause, ConfigError};

/// Registered memory, as its owner knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryRegion {
    /// The key for the owner's own entries.
    pub lkey: u32,
    /// The key for the entries of peers. It differs from the local key, so that one in the place
    /// of the other is found; on a real device they may be equal.
    pub rkey: u32,
}

/// What an access does to registered memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    LocalRead,
    LocalWrite,
    RemoteWrite,
    RemoteRead,
    RemoteAtomic,
}

impl Use {
    fn is_local(self) -> bool {
        matches!(self, Use::LocalRead | Use::LocalWrite)
    }

    fn permitted(self, rights: Rights) -> bool {
        match self {
            Use::LocalRead => true,
            Use::LocalWrite => rights.local_write,
            Use::RemoteWrite => rights.remote_write,
            Use::RemoteRead => rights.remote_read,
            Use::RemoteAtomic => rights.remote_atomic,
        }
    }

    fn right(self) -> &'static str {
        match self {
            Use::LocalRead => "local_read",
            Use::LocalWrite => "local_write",
            Use::RemoteWrite => "remote_write",
            Use::RemoteRead => "remote_read",
            Use::RemoteAtomic => "remote_atomic",
        }
    }
}

#[derive(Clone, Debug)]
struct Region {
    nic: NicId,
    address: u64,
    bytes: u64,
    rights: Rights,
    live: bool,
}

/// All regions of a network. Keys are never used again, so a stale one is always found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Regions {
    regions: Vec<Region>,
}

/// A key is a 24-bit index and a tag; local keys have even indices, remote keys odd ones.
const FIRST_INDEX: u32 = 2;
const MAX_REGIONS: usize = (1 << 23) - 2;

fn key(region: usize, local: bool) -> u32 {
    let index = region as u32 * 2 + FIRST_INDEX + u32::from(!local);
    // The tag depends on the index, so that a key with one wrong bit is no other valid key.
    let tag = index.wrapping_mul(0x9e37_79b1) >> 24;
    index << 8 | tag
}

impl Regions {
    pub(crate) fn register(
        &mut self,
        nic: NicId,
        address: u64,
        bytes: u64,
        rights: Rights,
    ) -> Result<MemoryRegion, ConfigError> {
        let what = "memory region";
        if bytes == 0 {
            return Err(ConfigError::Empty { what, address });
        }
        if address.checked_add(bytes).is_none() {
            return Err(ConfigError::PastEnd { what, address, bytes });
        }
        if self.regions.len() >= MAX_REGIONS {
            let limit = MAX_REGIONS as u64;
            return Err(ConfigError::TooMany { what, limit });
        }
        let region = self.regions.len();
        self.regions.push(Region { nic, address, bytes, rights, live: true });
        Ok(MemoryRegion { lkey: key(region, true), rkey: key(region, false) })
    }

    pub(crate) fn deregister(&mut self, region: MemoryRegion) -> Result<(), ConfigError> {
        match self.find(region.lkey, true) {
            Some(index) if key(index, false) == region.rkey => {
                self.regions[index].live = false;
                Ok(())
            }
            _ => Err(ConfigError::UnknownRegion { region }),
        }
    }

    /// Whether a device may use memory in this way under this key.
    pub(crate) fn check(&self, nic: NicId, key: u32, address: u64, bytes: u64, usage: Use) -> Result<(), Cause> {
        let Some(index) = self.find(key, usage.is_local()) else {
            return Err(Cause::UnknownKey { key });
        };
        let region = &self.regions[index];
        if region.nic != nic {
            let owner = region.nic;
            return Err(Cause::KeyOfOther { key, owner, nic });
        }
        let inside = address >= region.address
            && address.checked_add(bytes).is_some_and(|end| end <= region.address + region.bytes);
        if !inside {
            return Err(Cause::OutOfBounds {
                key,
                address,
                bytes,
                region_address: region.address,
                region_bytes: region.bytes,
            });
        }
        if !usage.permitted(region.rights) {
            let right = usage.right();
            return Err(Cause::NotPermitted { key, right });
        }
        Ok(())
    }

    /// The live region with this key.
    fn find(&self, wanted: u32, local: bool) -> Option<usize> {
        let index = (wanted >> 8).checked_sub(FIRST_INDEX)? as usize / 2;
        let region = self.regions.get(index)?;
        (region.live && key(index, local) == wanted).then_some(index)
    }
}
