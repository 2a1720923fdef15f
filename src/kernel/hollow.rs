//! Kernels that do nothing, for tests of the host side: they take the real arguments and end.

use super::args::{self, Args};
use super::image::{ArgType, KernelArg, KernelImage, PointerContract, Reach};
use super::launch::KernelSet;

/// Rows that the hollow exchange announces.
#[cfg(feature = "emu")]
pub(crate) const ROWS: u32 = 3;

const HEAD: &str = ".version 8.2\n.target sm_90\n.address_size 64\n";

fn image<A: Args>(name: &'static str, body: &str) -> &'static KernelImage {
    let mut parameters = Vec::new();
    let mut list = Vec::new();
    for (field, ty, offset) in A::fields() {
        let name: &'static str = Box::leak(format!("arg_{field}").into_boxed_str());
        let is_value = *ty == ArgType::U32 || matches!(*field, "deadline_ns" | "rows_capacity" | "places_capacity");
        let pointer = PointerContract { read: true, write: true, reach: Reach::Sys, align: 4, bytes: None };
        list.push(KernelArg { name, ty: *ty, offset: *offset, pointer: (!is_value).then_some(pointer) });
        parameters.push(format!("    .param .u{} {name}", 8 * ty.bytes()));
    }
    let text = format!(
        "{HEAD}.visible .entry {name}(\n{}\n)\n.maxntid 1024\n{{\n{body}\n    ret;\n}}\n",
        parameters.join(",\n")
    );
    let text: &'static str = Box::leak(text.into_boxed_str());
    Box::leak(Box::new(KernelImage {
        name,
        kernel: name,
        text,
        marked_text: text,
        args: Box::leak(list.into_boxed_slice()),
        static_shared: 0,
        max_threads: 1024,
        cubins: &[],
    }))
}

/// A set that takes part in nothing: the exchange announces three rows and one row for each local expert.
pub(crate) fn set() -> KernelSet {
    // Thread 0: rows and messages, then stamp + 1 with release; threads from 1 on: counts of the experts.
    let exchange = "
    .reg .u64 totals, stamp, count;
    .reg .u32 thread;
    .reg .pred other;
    mov.u32         thread, %tid.x;
    ld.param.u64    totals, [arg_totals];
    setp.ne.u32     other, thread, 0;
    @other bra      done;
    st.global.u32   [totals + 8], 3;
    st.global.u32   [totals + 12], 3;
    st.global.u32   [totals + 16], 1;
    ld.global.u64   stamp, [totals];
    add.u64         stamp, stamp, 1;
    st.release.sys.global.u64 [totals], stamp;
done:";
    KernelSet {
        layout: image::<args::Layout>("layout", ""),
        exchange: image::<args::Exchange>("exchange", exchange),
        pad: image::<args::Pad>("pad", ""),
        dispatch: image::<args::Dispatch>("dispatch", ""),
        combine: image::<args::Combine>("combine", ""),
    }
}

/// The same with an exchange that stops before it has any totals, and says `code`.
#[cfg(feature = "emu")]
pub(crate) fn failing_set(code: u32) -> KernelSet {
    let exchange = format!(
        "
    .reg .u64 status;
    .reg .u32 thread;
    .reg .pred other;
    mov.u32         thread, %tid.x;
    ld.param.u64    status, [arg_status];
    setp.ne.u32     other, thread, 0;
    @other bra      done;
    st.release.sys.global.u32 [status], {code};
done:"
    );
    KernelSet { exchange: image::<args::Exchange>("exchange", &exchange), ..set() }
}

/// The same with an exchange that polls the host's totals for ever.
#[cfg(feature = "emu")]
pub(crate) fn stuck_set() -> KernelSet {
    let exchange = "
    .reg .u64 totals, stamp;
    .reg .pred waiting;
    ld.param.u64    totals, [arg_totals];
poll:
    ld.acquire.sys.global.u64 stamp, [totals];
    setp.eq.u64     waiting, stamp, 0;
    nanosleep.u32   100;
    @waiting bra    poll;";
    KernelSet { exchange: image::<args::Exchange>("exchange", exchange), ..set() }
}
