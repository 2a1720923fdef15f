//! Launches.

use crate::call::entries;
use crate::memory::refused;
use crate::module::Function;
use crate::result::{invalid, Outcome};
use crate::state::{handle, here};
use crate::{CUfunction, CUstream};
use std::ffi::{c_uint, c_void};
use warpferry_emu::Launch;

/// Names in the list of packed arguments.
const END: usize = 0;
const BUFFER: usize = 1;
const BUFFER_BYTES: usize = 2;
/// Most names in that list.
const MOST_NAMES: usize = 8;

entries! {
    /// Puts a launch into a stream.
    fn cuLaunchKernel(
        function: CUfunction,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        shared_bytes: c_uint,
        stream: CUstream,
        arguments: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) {
        let (mut turn, here) = here()?;
        let function = turn.function(handle(function), here.context)?.clone();
        // SAFETY: the caller gives arguments of the kernel's types in one of the two forms.
        let args = unsafe { pack(&function, arguments, extra)? };
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        check_shape(&function, grid, block, shared_bytes)?;
        let stream = turn.stream_for_work(handle(stream), here)?;
        let launch = Launch {
            gpu: here.device,
            stream: stream.id,
            module: function.id,
            entry: function.entry,
            grid,
            block,
            shared_bytes,
            args,
            access: Vec::new(),
        };
        turn.machine.launch(launch).map(drop).or_else(refused)
    }
}

/// Sizes that a launch may have.
fn check_shape(function: &Function, grid: [u32; 3], block: [u32; 3], shared_bytes: u32) -> Outcome {
    let entry = &function.entry;
    let most_ctas = [i32::MAX as u32, 65_535, 65_535];
    let most_threads = [1024, 1024, 64];
    for axis in 0..3 {
        if !(1..=most_ctas[axis]).contains(&grid[axis]) || !(1..=most_threads[axis]).contains(&block[axis]) {
            return invalid(format!("{entry}: grid {grid:?}, block {block:?}"));
        }
    }
    let threads: u64 = block.iter().map(|&n| n as u64).product();
    if threads > function.info.max_threads as u64 {
        return invalid(format!("{entry}: {threads} threads of a CTA, at most {}", function.info.max_threads));
    }
    if shared_bytes > function.dynamic_shared {
        return invalid(format!(
            "{entry}: {shared_bytes} bytes of dynamic shared memory, at most {} before cuFuncSetAttribute gives more",
            function.dynamic_shared
        ));
    }
    Ok(())
}

/// The packed arguments.
///
/// # Safety
/// `arguments` is null or has a pointer to each of the kernel's parameters; `extra` is null or is a list that ends.
unsafe fn pack(function: &Function, arguments: *mut *mut c_void, extra: *mut *mut c_void) -> Outcome<Vec<u8>> {
    let (entry, info) = (&function.entry, &function.info);
    let mut args = vec![0u8; info.param_bytes];
    if !arguments.is_null() && !extra.is_null() {
        return invalid(format!("{entry}: arguments in both forms"));
    }
    if !arguments.is_null() {
        for (index, param) in info.params.iter().enumerate() {
            // SAFETY: there is a pointer for each parameter, to as many bytes as the parameter has.
            unsafe {
                let from = arguments.add(index).read();
                if from.is_null() {
                    return invalid(format!("{entry}: argument {index} ({}) is null", param.name));
                }
                let into = args[param.offset..param.offset + param.bytes].as_mut_ptr();
                std::ptr::copy_nonoverlapping(from.cast::<u8>(), into, param.bytes);
            }
        }
        return Ok(args);
    }
    if extra.is_null() {
        return match info.param_bytes {
            0 => Ok(args),
            bytes => invalid(format!("{entry}: no arguments, {bytes} bytes are needed")),
        };
    }
    let (mut buffer, mut bytes) = (None, None);
    for pair in 0..MOST_NAMES {
        // SAFETY: the list goes on until its end was read, and each name but the end has a value behind it.
        let name = unsafe { extra.add(2 * pair).read() }.addr();
        if name == END {
            break;
        }
        // SAFETY: as above.
        let value = unsafe { extra.add(2 * pair + 1).read() };
        match name {
            BUFFER => buffer = Some(value.cast::<u8>()),
            // SAFETY: the value points to the size.
            BUFFER_BYTES if !value.is_null() => bytes = Some(unsafe { value.cast::<usize>().read() }),
            _ => return invalid(format!("{entry}: name {name} in the list of packed arguments")),
        }
    }
    let (Some(buffer), Some(bytes)) = (buffer.filter(|b| !b.is_null()), bytes) else {
        return invalid(format!("{entry}: packed arguments without a buffer or its size"));
    };
    if bytes != args.len() {
        return invalid(format!("{entry}: {bytes} bytes of packed arguments, {} are needed", args.len()));
    }
    // SAFETY: the buffer has as many bytes as the list says, and they are as many as were made room for.
    unsafe { std::ptr::copy_nonoverlapping(buffer, args.as_mut_ptr(), bytes) };
    Ok(args)
}
