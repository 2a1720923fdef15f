//! Modules, kernels and launches.

use crate::bench::{kernel, launch, load, ok, synchronize, word, zeroed, Context};
use cuda_emu::*;
use std::ffi::{c_void, CStr, CString};
use std::ptr::null_mut;

const STORE: &str = "st.global.u64 [x0], x2; ld.global.u64 y0, [x1]; st.global.u64 [x0+8], y0;";

#[test]
fn both_forms_of_arguments_arrive() {
    let _context = Context::new(0);
    let (function, out, from) = (load(STORE), zeroed(16), zeroed(8));
    ok(launch(function, null_mut(), [out, from, 5]));
    assert_eq!(word(out), 5);
    let packed: Vec<u8> = [out, from, 6u64].iter().flat_map(|v| v.to_le_bytes()).collect();
    let with_size = |bytes: usize, pointers: *mut *mut c_void| {
        let mut extra = [
            std::ptr::without_provenance_mut(1),
            packed.as_ptr().cast_mut().cast(),
            std::ptr::without_provenance_mut(2),
            (&raw const bytes).cast_mut().cast(),
            null_mut(),
        ];
        // SAFETY: the list ends; buffer and size are those of `packed`, or the call refuses the size.
        unsafe { cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, null_mut(), pointers, extra.as_mut_ptr()) }
    };
    ok(with_size(24, null_mut()));
    assert_eq!(word(out), 6);
    assert_eq!(with_size(16, null_mut()), codes::ERROR_INVALID_VALUE);
    assert_eq!(with_size(24, [null_mut(); 3].as_mut_ptr()), codes::ERROR_INVALID_VALUE);
}

#[test]
fn wrong_shapes_are_refused() {
    let _context = Context::new(0);
    let (function, out) = (load(STORE), zeroed(16));
    let mut args = [out, out, 1u64];
    let mut pointers: Vec<*mut c_void> = args.iter_mut().map(|a| std::ptr::from_mut(a).cast()).collect();
    let mut go = |grid: u32, block: [u32; 3], shared: u32| {
        let [x, y, z] = block;
        // SAFETY: there is a pointer to each argument.
        unsafe { cuLaunchKernel(function, grid, 1, 1, x, y, z, shared, null_mut(), pointers.as_mut_ptr(), null_mut()) }
    };
    for (grid, block, shared) in [
        (0, [32, 1, 1], 0),
        (1, [0, 1, 1], 0),
        (1, [257, 1, 1], 0),
        (1, [16, 1, 17], 0),
        (1, [1, 1, 65], 0),
        (1, [32, 1, 1], 49_153),
    ] {
        assert_eq!(go(grid, block, shared), codes::ERROR_INVALID_VALUE, "{grid} {block:?} {shared}");
    }
    ok(go(1, [256, 1, 1], 49_152));
    let mut value = 0;
    // SAFETY: there is room for the value.
    unsafe {
        ok(cuFuncGetAttribute(&mut value, 8, function));
        assert_eq!(value, 49_152);
        assert_eq!(cuFuncSetAttribute(function, 8, 232_449), codes::ERROR_INVALID_VALUE);
        ok(cuFuncSetAttribute(function, 8, 232_448));
        ok(cuFuncGetAttribute(&mut value, 0, function));
        assert_eq!(value, 256);
        ok(cuFuncGetAttribute(&mut value, 5, function));
        assert_eq!(value, 82);
    }
    ok(go(1, [32, 1, 1], 232_448));
    assert_eq!(go(1, [32, 1, 1], 232_449), codes::ERROR_INVALID_VALUE);
    ok(synchronize(null_mut()));
}

/// Text that does not compile gives the reason in the log, cut to its size; machine code is refused.
#[test]
fn the_log_says_why() {
    let _context = Context::new(0);
    let text = kernel("frobnicate.u32 r0, r1;");
    let (mut module, mut log, mut info) = (null_mut(), [9u8; 512], [9u8; 64]);
    let mut names = [5, 6, 3, 4];
    for room in [512usize, 16] {
        let sized = |bytes: usize| bytes as *mut c_void;
        let mut values = [log.as_mut_ptr().cast(), sized(room), info.as_mut_ptr().cast(), sized(64)];
        // SAFETY: names and values are four each; the buffers are as large as their sizes say.
        let result = unsafe {
            cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 4, names.as_mut_ptr(), values.as_mut_ptr())
        };
        assert_eq!(result, codes::ERROR_INVALID_PTX);
        let said = CStr::from_bytes_until_nul(&log).expect("the log ends").to_str().expect("a text");
        assert_eq!(values[1] as usize, said.len() + 1);
        assert!(if room == 512 { said.contains("frobnicate") } else { said.len() == 15 }, "{said}");
        assert_eq!((info[0], values[3] as usize), (0, 0));
    }
    let missing = CString::new("nothing").expect("no zero byte");
    let load = |image: &[u8]| {
        let mut module = null_mut();
        // SAFETY: every image has a zero byte.
        (unsafe { cuModuleLoadData(&mut module, image.as_ptr().cast()) }, module)
    };
    assert_eq!(load(b"\x7fELF\x02\x01\0").0, codes::ERROR_NO_BINARY_FOR_GPU);
    assert_eq!(load(b"no text\0").0, codes::ERROR_INVALID_PTX);
    assert_eq!(load(b".version 9.9\n.target sm_90\n\0").0, codes::ERROR_UNSUPPORTED_PTX_VERSION);
    assert_eq!(load(b".version 8.2\n.target sm_100\n\0").0, codes::ERROR_INVALID_PTX);
    let (result, module) = load(kernel("").as_bytes_with_nul());
    ok(result);
    let mut function = null_mut();
    // SAFETY: there is room for the handle, and the name ends.
    unsafe {
        assert_eq!(cuModuleGetFunction(&mut function, module, missing.as_ptr()), codes::ERROR_NOT_FOUND);
        ok(cuModuleGetFunction(&mut function, module, c"test".as_ptr()));
        ok(cuModuleUnload(module));
    }
    assert_eq!(launch(function, null_mut(), [0; 3]), codes::ERROR_INVALID_HANDLE);
}
