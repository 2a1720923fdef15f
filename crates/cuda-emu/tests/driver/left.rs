//! What is left at the end of the process, each in a child.

use crate::bench::{in_child, mapped, ok, passed, stream, zeroed, Context};
use cuda_emu::*;
use std::ptr::null_mut;

fn told(test: &str, act: impl FnOnce(), want: &str) {
    let output = in_child(test, &[("WARPFERRY_CUDA_EMU_LEAKS", "1")], act);
    let text = output.as_ref().map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    passed(output);
    if let Some(text) = text {
        let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("cuda-emu: left: ")).collect();
        assert_eq!(lines, [want], "{text}");
    }
}

/// Method: two of each kind but one, alive or gone with the context.
#[test]
fn what_is_left_is_told() {
    let act = || {
        let other = Context::new(0);
        stream();
        zeroed(8);
        drop(other);
        let (mut primary, mut event) = (null_mut(), null_mut());
        // SAFETY: there is room for every result.
        unsafe {
            ok(cuDevicePrimaryCtxRetain(&mut primary, 0));
            ok(cuCtxPushCurrent_v2(primary));
            ok(cuEventCreate(&mut event, 0));
        }
        crate::bench::load("");
        stream();
        mapped(8);
        zeroed(8);
    };
    let want =
        "2 streams, 1 events, 1 modules, 0 graphs, 2 device blocks, 1 host blocks, 1 retained primary contexts, \
                1 pushed contexts";
    told("left::what_is_left_is_told", act, want);
}

#[test]
fn a_tidy_program_leaves_nothing() {
    let act = || {
        let (mut primary, mut event) = (null_mut(), null_mut());
        // SAFETY: there is room for every result.
        unsafe {
            ok(cuInit(0));
            ok(cuDevicePrimaryCtxRetain(&mut primary, 0));
            ok(cuCtxPushCurrent_v2(primary));
            ok(cuEventCreate(&mut event, 0));
            ok(cuEventDestroy_v2(event));
            ok(cuStreamDestroy_v2(stream()));
            ok(cuMemFree_v2(zeroed(8)));
            ok(cuMemFreeHost(mapped(8).0.cast()));
            ok(cuCtxPopCurrent_v2(&mut primary));
            ok(cuDevicePrimaryCtxRelease_v2(0));
        }
    };
    let want =
        "0 streams, 0 events, 0 modules, 0 graphs, 0 device blocks, 0 host blocks, 0 retained primary contexts, \
                0 pushed contexts";
    told("left::a_tidy_program_leaves_nothing", act, want);
}
