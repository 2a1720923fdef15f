//! Random work of several threads in their own streams equals a model of plain bytes.

use crate::bench::{load, mapped, ok, stream, synchronize, Context};
use cuda_emu::*;
use std::ptr::null_mut;

const BYTES: usize = 4096;
const STEPS: usize = 150;

/// Numbers from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// One thread's work; its device memory, mapped memory and their models.
fn work(seed: u64, function: CUfunction) {
    let mut draw = Draw(seed);
    let stream = stream();
    let (host, mapped_address) = mapped(BYTES);
    let mut device_address = 0;
    // SAFETY: there is room for the address.
    ok(unsafe { cuMemAlloc_v2(&mut device_address, BYTES) });
    let places = [device_address, mapped_address];
    let mut models = [vec![0u8; BYTES], vec![0u8; BYTES]];
    // SAFETY: both have so many bytes.
    places.iter().for_each(|place| ok(unsafe { cuMemsetD8Async(*place, 0, BYTES, stream) }));
    for step in 0..STEPS {
        let (to, from) = (draw.below(2), draw.below(2));
        let bytes = 1 + draw.below(300);
        let (at, source) = (draw.below(BYTES - bytes), draw.below(BYTES - bytes));
        let say = |what: &str| format!("seed {seed:#x}, step {step}: {what}");
        // SAFETY: every range lies within its memory, by how it was drawn.
        unsafe {
            match draw.below(7) {
                0 => {
                    let data: Vec<u8> = (0..bytes).map(|_| draw.below(256) as u8).collect();
                    ok(cuMemcpyHtoDAsync_v2(places[to] + at as u64, data.as_ptr().cast(), bytes, stream));
                    models[to][at..at + bytes].copy_from_slice(&data);
                }
                1 => {
                    ok(cuMemcpyHtoDAsync_v2(places[to] + at as u64, host.add(source).cast(), bytes, stream));
                    let data = models[1][source..source + bytes].to_vec();
                    models[to][at..at + bytes].copy_from_slice(&data);
                }
                2 => {
                    let (a, b) = (places[to] + at as u64, places[from] + source as u64);
                    ok(cuMemcpyDtoDAsync_v2(a, b, bytes, stream));
                    let data = models[from][source..source + bytes].to_vec();
                    models[to][at..at + bytes].copy_from_slice(&data);
                }
                3 => {
                    ok(cuMemsetD8Async(places[to] + at as u64, step as u8, bytes, stream));
                    models[to][at..at + bytes].fill(step as u8);
                }
                4 => {
                    let at = at & !7;
                    ok(cuStreamWriteValue64_v2(stream, places[to] + at as u64, seed, 0));
                    models[to][at..at + 8].copy_from_slice(&seed.to_le_bytes());
                }
                5 => {
                    let at = at & !7;
                    let args: Vec<u8> =
                        [places[to] + at as u64, 0, seed].iter().flat_map(|v| v.to_le_bytes()).collect();
                    let size = args.len();
                    let mut extra = [
                        std::ptr::without_provenance_mut(1),
                        args.as_ptr().cast_mut().cast(),
                        std::ptr::without_provenance_mut(2),
                        (&raw const size).cast_mut().cast(),
                        null_mut(),
                    ];
                    let list = extra.as_mut_ptr();
                    ok(cuLaunchKernel(function, 3, 1, 1, 64, 1, 1, 0, stream, null_mut(), list));
                    let mut word = [0; 8];
                    word.copy_from_slice(&models[to][at..at + 8]);
                    let sum = u64::from_le_bytes(word).wrapping_add(seed.wrapping_mul(3));
                    models[to][at..at + 8].copy_from_slice(&sum.to_le_bytes());
                }
                _ => {
                    let mut seen = vec![0u8; bytes];
                    ok(cuMemcpyDtoHAsync_v2(seen.as_mut_ptr().cast(), places[to] + at as u64, bytes, stream));
                    assert!(seen == models[to][at..at + bytes], "{}", say("a copy to the host"));
                }
            }
        }
    }
    ok(synchronize(stream));
    for (place, model) in places.iter().zip(&models) {
        let mut seen = vec![0u8; BYTES];
        // SAFETY: both have so many bytes.
        ok(unsafe { cuMemcpyDtoHAsync_v2(seen.as_mut_ptr().cast(), *place, BYTES, stream) });
        assert!(seen == *model, "seed {seed:#x}: at the end");
    }
    // SAFETY: both were taken here, and the stream has run dry.
    unsafe {
        ok(cuMemFreeHost(host.cast()));
        ok(cuMemFree_v2(device_address));
        ok(cuStreamDestroy_v2(stream));
    }
}

#[test]
fn random_work_equals_a_model() {
    let context = Context::new(2);
    let function = load("red.relaxed.sys.global.add.u64 [x0], x2;");
    let (context, function) = (context.handle.addr(), function.addr());
    std::thread::scope(|scope| {
        for seed in 1..=6u64 {
            scope.spawn(move || {
                // SAFETY: no pointers are given, only a handle.
                ok(unsafe { cuCtxSetCurrent(std::ptr::without_provenance_mut(context)) });
                work(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), std::ptr::without_provenance_mut(function));
            });
        }
    });
}
