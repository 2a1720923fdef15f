//! Faults of kernels stay for their GPU. Each in a child: the GPU is lost for its process.

use crate::bench::{in_child, launch, load, ok, passed, stream, synchronize, zeroed, Context};
use cuda_emu::*;
use std::ptr::null_mut;

fn fault(test: &str, body: &str, code: CUresult, said: &str) {
    let output = in_child(test, &[("WARPFERRY_CUDA_EMU_DEVICES", "2")], || {
        let other = Context::new(1);
        let context = Context::new(0);
        let (stream, memory, function) = (stream(), zeroed(16), load(body));
        ok(launch(function, stream, [memory, 0, 0]));
        assert_eq!(synchronize(stream), code);
        // SAFETY: there is room for every result.
        unsafe {
            let (mut address, mut made) = (0, null_mut());
            assert_eq!(cuStreamQuery(stream), code);
            assert_eq!(cuMemAlloc_v2(&mut address, 8), code);
            assert_eq!(cuStreamCreate(&mut made, 0), code);
            assert_eq!(cuCtxSynchronize(), code);
            assert_eq!(cuMemcpyDtoH_v2((&raw mut address).cast(), memory, 8), code);
            assert_eq!(launch(function, stream, [memory, 0, 0]), code);
            assert_eq!(cuCtxCreate_v2(&mut made, 0, 0), code);
            ok(cuCtxSetCurrent(other.handle));
        }
        zeroed(16);
        drop(context);
        drop(other);
    });
    let text = output.as_ref().map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    passed(output);
    if let Some(text) = text {
        assert!(text.contains(said) && text.contains("test cta [0, 0, 0] thread [0, 0, 0]"), "{text}");
    }
}

#[test]
fn out_of_bounds() {
    fault("faults::out_of_bounds", "st.global.u64 [x0+16], x2;", codes::ERROR_ILLEGAL_ADDRESS, "out of bounds");
}

#[test]
fn misaligned() {
    fault("faults::misaligned", "st.global.u64 [x0+4], x2;", codes::ERROR_MISALIGNED_ADDRESS, "not aligned");
}

#[test]
fn trap() {
    fault("faults::trap", "trap;", codes::ERROR_LAUNCH_FAILED, "trap");
}
