//! Work that is held back, each in a child.

use crate::bench::{in_child, mapped, ok, passed, stream, synchronize, zeroed, Context};
use cuda_emu::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// A host word that copies see.
fn host_word<'a>(pointer: *mut u8, index: usize) -> &'a AtomicU64 {
    // SAFETY: the tests ask for words within memory that lives as long as their context, and use it through atomics.
    unsafe { &*pointer.cast::<AtomicU64>().add(index) }
}

/// Method: many copies there and back with a source that changes at once: most see the later value, none does in whose
/// stream the change waits for the copy; what is read at once is mostly not there yet.
fn copies_are_late(seed: &str, test: &str) {
    passed(in_child(test, &[("WARPFERRY_CUDA_EMU_HOLD", seed)], || {
        let _context = Context::new(0);
        let (stream, memory, (pinned, _)) = (stream(), zeroed(8), mapped(4096));
        let (mut early, mut late) = (0, 0);
        for round in 1..=50_u64 {
            let (from, to) = (host_word(pinned, 0), host_word(pinned, 8));
            from.store(round, Ordering::Relaxed);
            // SAFETY: both ranges have 8 bytes.
            unsafe {
                ok(cuMemcpyHtoDAsync_v2(memory, pinned.cast(), 8, stream));
                from.store(1000, Ordering::Release);
                ok(cuMemcpyDtoHAsync_v2(pinned.add(64).cast(), memory, 8, stream));
            }
            early += u64::from(to.load(Ordering::Acquire) == round);
            ok(synchronize(stream));
            late += u64::from(to.load(Ordering::Acquire) == 1000);
            from.store(round, Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { ok(cuMemcpyHtoDAsync_v2(memory, pinned.cast(), 8, stream)) };
            ok(synchronize(stream));
            from.store(2000, Ordering::Release);
            // SAFETY: as above.
            unsafe { ok(cuMemcpyDtoHAsync_v2(pinned.add(64).cast(), memory, 8, stream)) };
            ok(synchronize(stream));
            assert_eq!(to.load(Ordering::Acquire), round);
        }
        assert!(late >= 40 && early <= 5, "{late} of 50 read late, {early} there at once");
    }));
}

#[test]
fn copies_are_late_by_seed_1() {
    copies_are_late("1", "held::copies_are_late_by_seed_1");
}

#[test]
fn copies_are_late_by_seed_2() {
    copies_are_late("2", "held::copies_are_late_by_seed_2");
}

/// Method: fills and words of one stream keep their order, and the end of the stream comes by questions alone.
#[test]
fn order_is_kept() {
    passed(in_child("held::order_is_kept", &[("WARPFERRY_CUDA_EMU_HOLD", "7")], || {
        let _context = Context::new(0);
        let (stream, (pinned, address)) = (stream(), mapped(4096));
        for round in 1..=20_u64 {
            // SAFETY: all ranges are allocated.
            unsafe {
                ok(cuMemsetD8Async(address + 64, round as u8, 8, stream));
                ok(cuStreamWriteValue64_v2(stream, address, round, 0));
                assert_eq!(cuStreamQuery(stream), codes::ERROR_NOT_READY);
                while host_word(pinned, 0).load(Ordering::Acquire) != round {
                    std::hint::spin_loop();
                }
                assert_eq!(host_word(pinned, 8).load(Ordering::Acquire), round * 0x0101_0101_0101_0101);
                ok(cuMemsetD8Async(address + 128, 1, 8, stream));
                while cuStreamQuery(stream) == codes::ERROR_NOT_READY {}
                ok(cuStreamQuery(stream));
            }
        }
    }));
}
