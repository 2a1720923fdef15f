//! Modules from PTX text, and their kernels.

use crate::call::{entries, put, put_text};
use crate::module::{check_header, Function, Module, DEFAULT_SHARED};
use crate::result::{fail, invalid, Failure, Outcome};
use crate::state::{handle, here, pointer, Kind};
use crate::{codes, settings, CUfunction, CUmodule};
use std::ffi::{c_char, c_int, c_uint, c_void, CStr};

/// Options of the compiler that matter here.
const INFO_LOG: c_uint = 3;
const INFO_LOG_BYTES: c_uint = 4;
const ERROR_LOG: c_uint = 5;
const ERROR_LOG_BYTES: c_uint = 6;
/// First bytes of images that hold machine code.
const ELF: [u8; 4] = [0x7f, b'E', b'L', b'F'];
const FATBIN: [u8; 4] = [0x50, 0xed, 0x55, 0xba];

entries! {
    /// Loads PTX text that ends with a zero byte.
    fn cuModuleLoadData(module: *mut CUmodule, image: *const c_void) {
        // SAFETY: as the caller says.
        unsafe { load(module, image) }
    }

    /// Loads PTX text, with options of the compiler: the logs are filled.
    fn cuModuleLoadDataEx(
        module: *mut CUmodule,
        image: *const c_void,
        options: c_uint,
        names: *mut c_uint,
        values: *mut *mut c_void,
    ) {
        if options > 0 && (names.is_null() || values.is_null()) {
            return invalid("options without their arrays");
        }
        // SAFETY: as the caller says.
        let loaded = unsafe { load(module, image) };
        let message = loaded.as_ref().err().map_or("", |failure: &Failure| &failure.why);
        // SAFETY: the caller gives arrays of `options` names and values, and buffers of the sizes that are told there.
        unsafe {
            write_log(options, names, values, (ERROR_LOG, ERROR_LOG_BYTES), message)?;
            write_log(options, names, values, (INFO_LOG, INFO_LOG_BYTES), "")?;
        }
        loaded
    }

    /// Unloads a module.
    fn cuModuleUnload(module: CUmodule) {
        let (mut turn, here) = here()?;
        let module = handle(module);
        turn.module(module, here.context)?;
        turn.drop_module(module);
        Ok(())
    }

    /// A kernel by its name.
    fn cuModuleGetFunction(function: *mut CUfunction, module: CUmodule, name: *const c_char) {
        let (mut turn, here) = here()?;
        let module = handle(module);
        let id = turn.module(module, here.context)?.id;
        if name.is_null() || function.is_null() {
            return invalid("the name or the function is null");
        }
        // SAFETY: the caller gives a text that ends with a zero byte.
        let entry = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        let Ok(info) = turn.machine.entry_info(id, &entry) else {
            return fail(codes::ERROR_NOT_FOUND, format!("the module has no entry {entry:?}"));
        };
        let known = turn.modules.functions.iter().find(|(_, f)| f.module == module && f.entry == entry);
        let found = match known {
            Some((known, _)) => *known,
            None => {
                let ptx_version = turn.module(module, here.context)?.ptx_version;
                let made = turn.new_handle(Kind::Function);
                let dynamic_shared = DEFAULT_SHARED.saturating_sub(info.static_shared_bytes);
                let of = Function { context: here.context, module, id, entry, info, ptx_version, dynamic_shared };
                turn.modules.functions.insert(made, of);
                made
            }
        };
        // SAFETY: the caller gives room for a handle.
        unsafe { put(function, "the function", pointer(found)) }
    }

    /// One of the properties of a kernel, by its number.
    fn cuFuncGetAttribute(value: *mut c_int, attribute: c_uint, function: CUfunction) {
        let (mut turn, here) = here()?;
        let found = turn.function(handle(function), here.context)?;
        let number = match attribute {
            0 => found.info.max_threads,
            1 => found.info.static_shared_bytes,
            2 | 3 | 7 => 0,
            // What the text declares: an assembler would need fewer.
            4 => found.info.registers.min(255) as u32,
            5 => found.ptx_version,
            6 => settings::settings().compute,
            8 => found.dynamic_shared,
            9 => u32::MAX,
            10..=16 => return fail(codes::ERROR_NOT_SUPPORTED, format!("attribute {attribute} is not known here")),
            _ => return invalid(format!("attribute {attribute}")),
        };
        // SAFETY: the caller gives room for a number, or null.
        unsafe { put(value, "the value", number as c_int) }
    }

    /// Sets a property of a kernel: most dynamic shared memory, or the share of shared memory, which means nothing here.
    fn cuFuncSetAttribute(function: CUfunction, attribute: c_uint, value: c_int) {
        let (mut turn, here) = here()?;
        let room = turn.machine.config().gpu.shared_bytes_per_sm;
        let found = turn.function(handle(function), here.context)?;
        match (attribute, u32::try_from(value)) {
            (8, Ok(bytes)) if bytes <= room.saturating_sub(found.info.static_shared_bytes) => {
                found.dynamic_shared = bytes;
                Ok(())
            }
            (8, _) => invalid(format!(
                "{value} bytes of dynamic shared memory beside {} static ones of {room}",
                found.info.static_shared_bytes
            )),
            (9, _) if (-1..=100).contains(&value) => Ok(()),
            _ => invalid(format!("attribute {attribute} cannot be {value}")),
        }
    }
}

/// Loads what `image` points to.
///
/// # Safety
/// `image` is null or points to machine code or to a text with a zero byte at its end; `module` is null or writable.
unsafe fn load(module: *mut CUmodule, image: *const c_void) -> Outcome {
    let (mut turn, here) = here()?;
    if module.is_null() || image.is_null() {
        return invalid("the module or the image is null");
    }
    // SAFETY: an image is a text with a zero byte at its end, or has at least four bytes before a zero byte.
    let text = unsafe { CStr::from_ptr(image.cast()) }.to_bytes();
    if text.starts_with(&ELF) || text.starts_with(&FATBIN) {
        return fail(settings::settings().cubin, "machine code cannot be run here: load the PTX text");
    }
    let Ok(text) = std::str::from_utf8(text) else {
        return fail(codes::ERROR_INVALID_IMAGE, "the image is neither text nor machine code");
    };
    let ptx_version = check_header(text)?;
    turn.wait_if_strict(here.device)?;
    let made = turn.new_handle(Kind::Module);
    let name = format!("module-{:x}.ptx", made >> 4 & 0xffff_ffff);
    let id = match turn.machine.load_module(&name, text) {
        Ok(id) => id,
        Err(error) => return fail(codes::ERROR_INVALID_PTX, error.to_string()),
    };
    turn.modules.modules.insert(made, Module { context: here.context, id, ptx_version });
    // SAFETY: the caller gives room for a handle.
    unsafe { put(module, "the module", pointer(made)) }
}

/// Fills a log buffer, and stores in place of its size how much of it was filled.
///
/// # Safety
/// `names` and `values` have `count` items; the value of the buffer has room for as many bytes as the value of the size
/// says.
unsafe fn write_log(
    count: c_uint,
    names: *mut c_uint,
    values: *mut *mut c_void,
    options: (c_uint, c_uint),
    text: &str,
) -> Outcome {
    // SAFETY: the index is below `count`.
    let index = |option| (0..count as usize).find(|&i| unsafe { names.add(i).read() } == option);
    let (Some(buffer), Some(size)) = (index(options.0), index(options.1)) else { return Ok(()) };
    // SAFETY: both indices are below `count`; the buffer is as large as its size says.
    unsafe {
        let room = values.add(size).read().addr();
        let buffer = values.add(buffer).read();
        if buffer.is_null() || room == 0 {
            return Ok(());
        }
        put_text(buffer.cast(), room, text)?;
        let filled = if text.is_empty() { 0 } else { (text.len() + 1).min(room) };
        values.add(size).write(std::ptr::without_provenance_mut(filled));
    }
    Ok(())
}
