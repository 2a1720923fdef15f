//! Start, errors, and what the GPUs are.

use crate::call::{entries, put, put_text};
use crate::engine::{engine, start};
use crate::result::{describe, fail, invalid};
use crate::settings::settings;
use crate::{codes, CUdevice, CUresult, CUuuid};
use std::ffi::{c_char, c_int, c_uint};

entries! {
    /// Makes the machine; flags must be 0.
    fn cuInit(flags: c_uint) {
        if flags != 0 {
            return invalid(format!("flags {flags:#x}"));
        }
        start().map(drop)
    }

    /// Version of the driver, as 12080 for 12.8.
    fn cuDriverGetVersion(version: *mut c_int) {
        // SAFETY: the caller gives room for a number, or null.
        unsafe { put(version, "the version", settings().version) }
    }

    /// Name of a result code.
    fn cuGetErrorName(error: CUresult, name: *mut *const c_char) {
        let found = describe(error);
        // SAFETY: the caller gives room for a pointer, or null.
        unsafe { put(name, "the name", found.map_or(std::ptr::null(), |(name, _)| name.as_ptr()))? };
        if found.is_none() {
            return invalid(format!("no result code {error}"));
        }
        Ok(())
    }

    /// Text of a result code.
    fn cuGetErrorString(error: CUresult, text: *mut *const c_char) {
        let found = describe(error);
        // SAFETY: the caller gives room for a pointer, or null.
        unsafe { put(text, "the text", found.map_or(std::ptr::null(), |(_, text)| text.as_ptr()))? };
        if found.is_none() {
            return invalid(format!("no result code {error}"));
        }
        Ok(())
    }

    /// Number of GPUs.
    fn cuDeviceGetCount(count: *mut c_int) {
        let devices = engine()?.turn().devices.len() as c_int;
        // SAFETY: the caller gives room for a number, or null.
        unsafe { put(count, "the count", devices) }
    }

    /// A GPU by its ordinal, which is its handle.
    fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int) {
        engine()?.turn().device(ordinal)?;
        // SAFETY: the caller gives room for a handle, or null.
        unsafe { put(device, "the device", ordinal) }
    }

    /// Name of a GPU.
    fn cuDeviceGetName(name: *mut c_char, bytes: c_int, device: CUdevice) {
        let index = engine()?.turn().device(device)?;
        let bytes = usize::try_from(bytes).unwrap_or(0);
        // SAFETY: the caller gives room for `bytes`, or null.
        unsafe { put_text(name, bytes, &format!("warpferry emulated GPU {index}")) }
    }

    /// Identity of a GPU.
    fn cuDeviceGetUuid_v2(uuid: *mut CUuuid, device: CUdevice) {
        let index = engine()?.turn().device(device)?;
        let mut bytes = *b"warpferry-emu\0\0\0";
        bytes[15] = index as u8;
        // SAFETY: the caller gives room for an identity, or null.
        unsafe { put(uuid, "the identity", CUuuid { bytes }) }
    }

    /// Place of a GPU on the bus.
    fn cuDeviceGetPCIBusId(place: *mut c_char, bytes: c_int, device: CUdevice) {
        let index = engine()?.turn().device(device)?;
        let bytes = usize::try_from(bytes).unwrap_or(0);
        if bytes < 13 {
            return invalid(format!("{bytes} bytes for a place on the bus"));
        }
        // SAFETY: the caller gives room for `bytes`, or null.
        unsafe { put_text(place, bytes, &format!("0000:{:02x}:00.0", bus(index))) }
    }

    /// Memory of a GPU.
    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: CUdevice) {
        let turn = engine()?.turn();
        turn.device(device)?;
        // SAFETY: the caller gives room for a size, or null.
        unsafe { put(bytes, "the size", turn.machine.config().gpu.memory_bytes as usize) }
    }

    /// One of the properties of a GPU, by its number.
    fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, device: CUdevice) {
        let turn = engine()?.turn();
        let index = turn.device(device)?;
        let Some(found) = property(attribute, index, &turn.machine.config().gpu) else {
            return if (1..=MOST_ATTRIBUTES).contains(&attribute) {
                fail(codes::ERROR_NOT_SUPPORTED, format!("attribute {attribute} is not known here"))
            } else {
                invalid(format!("attribute {attribute}"))
            };
        };
        // SAFETY: the caller gives room for a number, or null.
        unsafe { put(value, "the value", found) }
    }
}

/// Greatest number of an attribute.
const MOST_ATTRIBUTES: c_uint = 160;
/// Number on the bus of the first GPU.
const FIRST_BUS: usize = 0x18;

fn bus(device: usize) -> usize {
    FIRST_BUS + device
}

/// The property of this number.
fn property(attribute: c_uint, device: usize, gpu: &warpferry_emu::GpuConfig) -> Option<c_int> {
    let compute = settings().compute as c_int;
    Some(match attribute {
        1..=3 => {
            if attribute == 3 {
                64
            } else {
                1024
            }
        }
        5 => c_int::MAX,
        6 | 7 => 65_535,
        // Shared memory of a CTA that does not ask for more.
        8 => 48 << 10,
        9 => 64 << 10,
        10 => 32,
        // Registers of a CTA.
        12 => 65_536,
        // Clock in kHz.
        13 => 1_000_000,
        14 => 512,
        15 => 1,
        16 => gpu.sms as c_int,
        17 | 18 => 0,
        19 => 1,
        20 => 0,
        31 => 1,
        32 => 0,
        33 => bus(device) as c_int,
        34 | 35 => 0,
        // Memory clock in kHz, bus width in bits, cache in bytes.
        36 => 2_619_000,
        37 => 5120,
        38 => 50 << 20,
        39 => gpu.max_threads_per_sm as c_int,
        40 => 3,
        41 => 1,
        50 => 0,
        75 => compute / 10,
        76 => compute % 10,
        78 => 1,
        79 | 80 => 1,
        81 => (gpu.shared_bytes_per_sm + 1024) as c_int,
        82 => 65_536,
        // Managed memory, host memory without mapping: not here.
        83 | 84 | 86 | 88 | 89 | 100 | 101 => 0,
        85 => device as c_int,
        90 => 1,
        // Host pointers are not addresses on the device here, though they are on most machines.
        91 => 0,
        92 | 93 => 1,
        94 => 0,
        95 | 96 => 0,
        97 => gpu.shared_bytes_per_sm as c_int,
        98 | 99 => 0,
        // Virtual memory management, handles of other kinds.
        102..=105 => 0,
        106 => gpu.max_ctas_per_sm as c_int,
        107..=110 => 0,
        111 => 1024,
        // Memory pools, access for other devices on the bus, clusters.
        112..=120 => 0,
        _ => return None,
    })
}
