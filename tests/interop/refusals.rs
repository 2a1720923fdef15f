//! What is refused, and how it is named.

use warpferry::interop::{self, cudarc as lent};
use warpferry::mem::DevicePtr;
use warpferry::world::{close, connect};
use warpferry::{DType, Error, Result};

use crate::rounds::config;
use crate::support::{context, done, Drops, Raw};

/// The argument that an error names.
#[track_caller]
fn refused<T>(result: Result<T>) -> String {
    match result {
        Err(Error::Argument { argument, .. }) => argument,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

/// Method: streams that cannot work, each refused by name.
#[test]
fn streams() {
    let Some(context) = context() else { return };
    let raw = Raw::new();
    let (stream, other) = (context.new_stream().expect("a stream can be made"), raw.stream());
    let own = context.cu_ctx().cast();
    // SAFETY: contexts and streams are alive; what is refused is not used.
    unsafe {
        assert_eq!(refused(interop::device(own, other)), "stream", "of another context");
        assert_eq!(refused(interop::device(own, std::ptr::null_mut())), "stream", "the default stream");
        assert_eq!(refused(interop::device(std::ptr::null_mut(), other)), "context");
        let twice = [stream.cu_stream().cast(), stream.cu_stream().cast()];
        assert_eq!(refused(interop::devices(own, &twice)), "streams[1]");
        assert_eq!(refused(interop::devices(own, &[])), "ranks");
    }
    assert_eq!(refused(lent::device(&context.default_stream())), "stream");
    assert_eq!(refused(lent::device(&context.per_thread_stream())), "stream");
    assert_eq!(refused(lent::devices(&[])), "streams");

    let ranks = connect(&config(1), &[lent::device(&stream).expect("the stream fits")]).expect("the world is made");
    // SAFETY: the context's wrapper is never dropped, so that it does not end the context.
    let foreign = unsafe { cudarc::driver::CudaContext::from_raw_context(0, 0, raw.context.cast()) };
    let foreign = foreign.expect("the context is alive");
    let strange = foreign.default_stream();
    assert_eq!(refused(lent::wait_for(&ranks[0], &strange)), "stream", "of another context");
    assert_eq!(refused(lent::release_to(&ranks[0], &context.per_thread_stream())), "stream");
    let slice = strange.alloc_zeros::<f32>(64).expect("a slice can be made");
    assert_eq!(refused(lent::tensor(&ranks[0], slice, &[64])), "slice", "of another context");
    close(ranks).expect("the world is closed");
    drop(strange);
    drop(foreign);
    done("refusals::streams");
}

/// Method: memory that cannot work, each refused by name; nothing that was refused is held.
#[test]
fn memory() {
    let Some(context) = context() else { return };
    let stream = context.new_stream().expect("a stream can be made");
    let ranks = connect(&config(1), &[lent::device(&stream).expect("the stream fits")]).expect("the world is made");
    let rank = &ranks[0];
    let slice = stream.alloc_zeros::<f32>(64).expect("a slice can be made");
    assert_eq!(refused(lent::tensor(rank, slice, &[65])), "slice", "too small");
    assert_eq!(refused(lent::tensor(rank, stream.alloc_zeros::<f32>(4).expect("a slice"), &[usize::MAX, 2])), "slice");

    let whole = std::sync::Arc::new(stream.alloc_zeros::<f32>(64).expect("a slice can be made"));
    let mut shared = lent::tensor(rank, std::sync::Arc::clone(&whole), &[64]).expect("the slice fits");
    assert_eq!(refused(shared.write(&[0.0_f32; 64])), "tensor", "lent memory is not written");
    assert_eq!(refused(lent::Borrowed::<f32>::new(rank, &shared, &stream)), "tensor", "it is a slice already");
    let own = rank.tensor(&[1_i32; 4], &[4]).expect("a tensor can be made");
    assert_eq!(refused(lent::Borrowed::<f32>::new(rank, &own, &stream)), "tensor", "of another type");

    let base = shared.ptr();
    let drops = Drops::default();
    let lend = |ptr: DevicePtr, bytes, shape: &[usize]| {
        // SAFETY: the slice outlives what is lent here.
        unsafe { rank.lend(ptr, bytes, DType::F32, shape, drops.keeper()) }
    };
    assert_eq!(refused(lend(base.offset(4), 32, &[8])), "ptr", "misaligned");
    assert_eq!(refused(lend(base, 28, &[8])), "bytes", "too small for its shape");
    assert_eq!(refused(lend(base, 1 << 40, &[8])), "memory", "more than was allocated");
    assert_eq!(refused(lend(DevicePtr::new(16), 32, &[8])), "memory", "no memory");
    let raw = Raw::new();
    let elsewhere = raw.memory(&[0; 256]);
    assert_eq!(refused(lend(DevicePtr::new(elsewhere), 256, &[64])), "memory", "of another context");
    assert_eq!(drops.seen(), 5, "refused memory is given back at once");
    assert!(lend(base.offset(16), 240, &[60]).is_ok(), "a part of an allocation");
    raw.free(elsewhere);
    raw.destroy();

    drop(shared);
    assert!(std::sync::Arc::into_inner(whole).is_some(), "the slice comes back");
    close(ranks).expect("the world is closed");
    done("refusals::memory");
}
