//! Memory of the device and of the host.

use crate::call::{entries, put};
use crate::memory::{refused, Block, Host};
use crate::result::{fail, invalid};
use crate::state::{context_pointer, here};
use crate::{codes, CUdeviceptr};
use std::ffi::{c_int, c_uint, c_void};

/// Every context may use the memory.
const PORTABLE: c_uint = 1;
/// The memory has an address on the device.
const DEVICEMAP: c_uint = 2;
const WRITECOMBINED: c_uint = 4;

entries! {
    /// Memory of the GPU, contents not defined.
    fn cuMemAlloc_v2(address: *mut CUdeviceptr, bytes: usize) {
        let (mut turn, here) = here()?;
        if address.is_null() || bytes == 0 {
            return invalid(format!("{bytes} bytes"));
        }
        turn.no_capture("cuMemAlloc")?;
        turn.wait_if_strict(here.device)?;
        let made = turn.machine.alloc(here.device, bytes as u64).or_else(refused)?;
        turn.blocks.insert(Block { address: made, bytes: bytes as u64, owner: here, host: None });
        // SAFETY: the caller gives room for an address.
        unsafe { put(address, "the address", made) }
    }

    /// Frees memory of a GPU when all its streams have run dry.
    fn cuMemFree_v2(address: CUdeviceptr) {
        let (mut turn, _) = here()?;
        turn.no_capture("cuMemFree")?;
        let owner = match turn.blocks.at(address) {
            Some(block) if block.host.is_some() => return invalid("it is host memory"),
            Some(block) if block.address == address => block.owner,
            _ => return invalid(format!("{address:#x} is not the start of a live allocation")),
        };
        turn.wait_for_device(owner.device)?;
        if turn.blocks.at(address).is_none() {
            return invalid(format!("{address:#x} was freed by another thread meanwhile"));
        }
        turn.free_block(address)
    }

    /// Free and all memory of the GPU.
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let (turn, here) = here()?;
        let all = turn.machine.config().gpu.memory_bytes;
        let used: u64 = turn.blocks.device_bytes(here.device);
        // SAFETY: the caller gives room for sizes, or null.
        unsafe {
            put(free, "the free size", all.saturating_sub(used) as usize)?;
            put(total, "the total size", all as usize)
        }
    }

    /// Host memory that copies read and write when they come to it, and that kernels can use when it is mapped.
    fn cuMemHostAlloc(pointer: *mut *mut c_void, bytes: usize, flags: c_uint) {
        let (mut turn, here) = here()?;
        if pointer.is_null() || bytes == 0 || flags & !(PORTABLE | DEVICEMAP | WRITECOMBINED) != 0 {
            return invalid(format!("{bytes} bytes, flags {flags:#x}"));
        }
        turn.no_capture("cuMemHostAlloc")?;
        turn.wait_if_strict(here.device)?;
        let (address, memory) = turn.machine.alloc_host_shared(0, bytes as u64).or_else(refused)?;
        let place = memory.as_ptr();
        let host = Some(Host { memory, flags });
        turn.blocks.insert(Block { address, bytes: bytes as u64, owner: here, host });
        // SAFETY: the caller gives room for a pointer.
        unsafe { put(pointer, "the pointer", place.cast()) }
    }

    /// Frees host memory.
    fn cuMemFreeHost(pointer: *mut c_void) {
        let (mut turn, here) = here()?;
        turn.no_capture("cuMemFreeHost")?;
        let address = match turn.blocks.at_host(pointer.addr() as u64) {
            Some(block) if block.host_address() == Some(pointer.addr() as u64) => block.address,
            _ => return invalid(format!("{pointer:p} is not the start of live host memory")),
        };
        turn.wait_if_strict(here.device)?;
        turn.free_block(address)
    }

    /// Address on the device of mapped host memory.
    fn cuMemHostGetDevicePointer_v2(address: *mut CUdeviceptr, pointer: *mut c_void, flags: c_uint) {
        let (turn, here) = here()?;
        if flags != 0 {
            return invalid(format!("flags {flags:#x}"));
        }
        let place = pointer.addr() as u64;
        let Some(block) = turn.blocks.at_host(place) else {
            return invalid(format!("{pointer:p} lies in no live host memory of cuMemHostAlloc"));
        };
        let flags = block.host.as_ref().map_or(0, |host| host.flags);
        if flags & DEVICEMAP == 0 {
            return invalid("the host memory was taken without DEVICEMAP");
        }
        if flags & PORTABLE == 0 && block.owner.context != here.context {
            return invalid("the host memory of another context was taken without PORTABLE");
        }
        let offset = place - block.host_address().unwrap_or(place);
        // SAFETY: the caller gives room for an address, or null.
        unsafe { put(address, "the address", block.address + offset) }
    }

    /// What is at an address of device or host.
    fn cuPointerGetAttribute(data: *mut c_void, attribute: c_uint, address: CUdeviceptr) {
        let (turn, here) = here()?;
        if data.is_null() {
            return invalid("no room for the value");
        }
        let (block, offset) = match (turn.blocks.at_host(address), turn.blocks.at(address)) {
            (Some(block), _) => (block, address - block.host_address().unwrap_or(address)),
            (None, Some(block)) => (block, address - block.address),
            (None, None) => return invalid(format!("{address:#x} lies in no live allocation")),
        };
        let owner = block.owner;
        // SAFETY: the caller gives room for a value of the attribute's type.
        unsafe {
            match attribute {
                1 => put(data.cast(), "data", context_pointer(owner.context)),
                2 => put(data.cast::<c_uint>(), "data", if block.host.is_some() { 1 } else { 2 }),
                3 if block.host.is_none() && owner.device != here.device && !turn.is_peer(here, owner.device) => {
                    invalid(format!("device {} has no access to {address:#x}", here.device))
                }
                3 => put(data.cast::<u64>(), "data", block.address + offset),
                4 => match block.host_address() {
                    Some(host) => put(data.cast::<u64>(), "data", host + offset),
                    None => invalid("device memory has no host pointer"),
                },
                7 => put(data.cast::<u64>(), "data", block.address >> 32),
                8 => put(data.cast::<c_uint>(), "data", 0),
                9 => put(data.cast::<c_int>(), "data", owner.device as c_int),
                11 => put(data.cast::<u64>(), "data", block.host_address().filter(|h| *h <= address).unwrap_or(block.address)),
                12 => put(data.cast::<usize>(), "data", block.bytes as usize),
                13 => put(data.cast::<c_uint>(), "data", 1),
                5 | 6 | 10 | 14..=30 => fail(codes::ERROR_NOT_SUPPORTED, format!("attribute {attribute} is not known here")),
                _ => invalid(format!("attribute {attribute}")),
            }
        }
    }
}
