//! Survivors that are no holes: why no machine can show a difference.

use super::record::Line;

/// A set of survivors and the argument for them.
#[derive(Debug)]
pub struct Argument {
    /// Part of the kernel's name; empty: any.
    pub kernel: &'static str,
    /// Part of the place (`file:line MACRO from ...`); the file, or the macro.
    pub place: &'static str,
    /// The label before it; empty: any.
    pub phase: &'static str,
    /// Part of the instruction.
    pub text: &'static str,
    /// The change; empty: any.
    pub change: &'static str,
    /// Why.
    pub why: &'static str,
}

/// All arguments.
const ARGUMENTS: &[Argument] = &[
    Argument { text: "st.relaxed.sys.global.u32 [status+", change: "weak", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u64 [status+", change: "weak", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u32 [status+", change: ".sys -> .gpu", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u64 [status+", change: ".sys -> .gpu", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u32 [line+", change: "weak", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u64 [line+", change: "weak", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u32 [line+", change: ".sys -> .gpu", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u64 [line+", change: ".sys -> .gpu", ..BEHIND_THE_CODE },
    Argument { change: ".release -> .relaxed", ..CODE_OF_A_LINE },
    Argument { change: ".sys -> .gpu", ..CODE_OF_A_LINE },
    Argument { change: "moved earlier", ..CODE_OF_A_LINE },
    // What a line without fields holds there.
    Argument { kernel: "mlx5", place: "GIVE_UP from exchange.ptx:271#1", text: "st.shared.u32 [smem+32], source", ..NO_FIELDS },
    Argument { kernel: "mlx5", place: "GIVE_UP from exchange.ptx:271#1", text: "st.shared.u64 [smem+40], stamp", ..NO_FIELDS },
    Argument { kernel: "mlx5", place: "GIVE_UP from exchange.ptx:271#1", text: "st.shared.u64 [smem+48], _seen", ..NO_FIELDS },
    Argument { kernel: "loopback", place: "GIVE_UP from exchange.ptx:271#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { place: "GIVE_UP from exchange.ptx:374#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { place: "GIVE_UP from exchange.ptx:377#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { kernel: "mlx5", place: "GIVE_UP from exchange.ptx:509#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { place: "fabric_mlx5.ptxh:483 FABRIC_BOXES_SENT", text: "sub.u64 _entry, _posted, _behind", ..NO_FIELDS },
    Argument { place: "GIVE_UP from exchange.ptx:182#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { place: "GIVE_UP from frame.ptxh:111#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { place: "GIVE_UP from frame.ptxh:118#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { place: "GIVE_UP from exchange.ptx:271#0", text: "[smem+48], _lost_channel", ..ZERO_OVER_ZERO },
    Argument { place: "GIVE_UP from exchange.ptx:509#2", text: "[smem+48], _now", ..ZERO_OVER_ZERO },
    // Giving up where everybody meets behind it.
    Argument { place: "GIVE_UP from exchange.ptx", change: ".release -> .relaxed", ..MET_BEHIND_IT },
    Argument { place: "GIVE_UP from exchange.ptx", change: "moved earlier", ..MET_BEHIND_IT },
    Argument { place: "GIVE_UP from frame.ptxh", change: ".release -> .relaxed", ..MET_BEHIND_IT },
    Argument { place: "GIVE_UP from frame.ptxh", change: "moved earlier", ..MET_BEHIND_IT },
    Argument {
        place: "GIVE_UP from exchange.ptx:271#0",
        text: "cas.b32 _cause, [smem+28], 0, 2",
        change: "moved earlier",
        ..PAST_A_CONSTANT
    },
    Argument {
        place: "GIVE_UP from exchange.ptx:509#2",
        text: "cas.b32 _cause, [smem+28], 0, 2",
        change: "moved earlier",
        ..PAST_A_CONSTANT
    },
    Argument {
        place: "layout.ptx",
        text: "st.relaxed.sys.global.u32 [status+12], token",
        change: "moved later",
        ..PAST_A_CONSTANT
    },
    // The word that says that a kernel gave up.
    Argument { text: "st.relaxed.sys.global.u32 [state+48], 1", change: "+1", ..ANY_BUT_ZERO },
    Argument { place: "layout.ptx", text: "cas.b32 word, [refused], 0, 1", change: "+1", ..ANY_BUT_ZERO },
    Argument { change: ".sys -> .gpu", ..ABORT_OF_ONE_GPU },
    Argument { text: "st.relaxed.sys.global.u32 [state+48]", change: "moved earlier", ..ABORT_IS_A_HINT },
    Argument { text: "st.relaxed.sys.global.u32 [state+48]", change: "moved later", ..ABORT_IS_A_HINT },
    Argument { kernel: "exchange", text: "[state+48]", change: "weak", ..ABORT_IN_STREAM_ORDER },
    // Waits of exchange.
    Argument { text: "sub.u64 _now, _now, _began", change: "+1", ..A_NANOSECOND },
    Argument {
        place: "AWAIT_STAMP from exchange.ptx:374#0",
        text: "ld.acquire.sys.global.u64 _seen",
        change: ".acquire -> .relaxed",
        ..READ_BEHIND_THE_NEXT
    },
    Argument { place: "exchange.ptx", text: "add.u32 to, to, 32", change: "-1", ..STAMPED_TWICE },
    // Neighbours that are something else.
    Argument { place: "layout.ptx", text: "red.relaxed.gpu.global.add.u32 [address], 1", change: "moved later", ..PAST_OTHER_MEMORY },
    Argument { place: "layout.ptx", text: "st.relaxed.sys.global.u64 [status+24]", change: "moved later", ..BEHIND_THE_KERNEL },
    Argument { place: "dispatch.ptx", text: "st.relaxed.sys.global.u64 [status+16], offset", change: "moved later", ..BEHIND_THE_KERNEL },
    Argument { place: "dispatch.ptx", text: "st.relaxed.sys.global.u64 [status+24], capacity", change: "moved later", ..BEHIND_THE_KERNEL },
    Argument { place: "dispatch.ptx", text: "st.relaxed.sys.global.u64 [status+24], capacity", change: "moved earlier", ..BEHIND_THE_KERNEL },
    // A lane of the scout gives up.
    Argument { place: "GIVE_UP from scout.ptxh:15#0", text: "red.release.cta.shared", change: ".release -> .relaxed", ..IN_THE_SCOUT },
    Argument { place: "GIVE_UP from scout.ptxh:15#0", text: "red.release.cta.shared", change: "moved earlier", ..IN_THE_SCOUT },
    Argument { place: "GIVE_UP from scout.ptxh:15#0", text: "cas.b32 _cause, [smem+28], 0, 2", change: "moved earlier", ..PAST_A_CONSTANT },
    Argument { place: "exchange.ptx:509#0", text: "red.release.cta.shared", change: "dropped", ..THE_NEXT_KERNEL_SEES_IT },
    Argument { place: "exchange.ptx:174#0", text: "bar.sync 0", change: "moved later", ..PAST_A_LOAD_OF_THE_STATE },
    Argument { place: "layout.ptx", text: "red.relaxed.gpu.global.add.u32 [address], 1", change: ".gpu -> .cta", ..ONE_CTA },
    Argument {
        place: "MEET_OR_LEAVE from exchange.ptx",
        text: "ld.acquire.cta.shared.u32 _given_up",
        change: ".acquire -> .relaxed",
        ..READ_BEHIND_A_BARRIER
    },
    Argument { place: "exchange.ptx", text: "[totals+8], total", change: "moved earlier", ..PAST_OTHER_TOTALS },
    // Words of the handle's head.
    Argument {
        place: "layout.ptx",
        text: "st.global.u32 [handle+4], 0",
        why: "nobody reads the word before exchange, which follows in the same stream, stores the rows there: only dispatch \
              reads it, and it is launched once the exchange gave its totals",
        ..BEHIND_THE_CODE
    },
    Argument {
        text: "st.global.u64 [handle+8]",
        why: "no kernel and nothing of the host reads the word: it tells who looks at a handle in a dump which exchange \
              filled it",
        ..BEHIND_THE_CODE
    },
];

/// The code of a line, where the host cannot look too early.
const CODE_OF_A_LINE: Argument = Argument {
    text: "st.release.sys.global.u32 [status]",
    why: "the host reads lines only when the event behind the kernel is reached or its stream is idle (`exec::wait_totals`, \
          `Shared::settle`), and the end of a kernel orders all that its threads wrote before it; so the order of the code \
          among the fields serves only who looks at a line while the kernel runs, such as a debugger after a hang",
    ..BEHIND_THE_CODE
};

/// A field that is stored behind the code, where the host cannot look too early.
const BEHIND_THE_KERNEL: Argument = Argument {
    why: "the host reads the line only when the kernel has ended (`Shared::settle`), which orders the field whether it is \
          stored before the code or behind it",
    ..BEHIND_THE_CODE
};

/// A lane of the warp that reads the cause.
const IN_THE_SCOUT: Argument = Argument {
    why: "the fields are read by lane 0 of the same warp, behind the bar.warp.sync that ends the look at completions; other \
          warps read the word only, to leave",
    ..BEHIND_THE_CODE
};

/// A cancel that comes when all that exchange has left to do is to wait for its own sends.
const THE_NEXT_KERNEL_SEES_IT: Argument = Argument {
    why: "the cancel stays set: dispatch, next in the stream, ends by it at its first look with the same line, and only a \
          later exchange, which never comes, would have to know that the own boxes have left",
    ..BEHIND_THE_CODE
};

/// A barrier and a word of an earlier kernel.
const PAST_A_LOAD_OF_THE_STATE: Argument = Argument {
    why: "the start's barrier is moved past each thread's load of the abort word, which threads of this kernel write only \
          behind it; what the barrier orders, the cleared control words, is used later",
    ..BEHIND_THE_CODE
};

/// A scope that is wider than the launch.
const ONE_CTA: Argument = Argument {
    why: "the launch has one CTA, so all that add are in it, and who reads the counts comes behind the end of the kernel; \
          `.gpu` would be needed by a launch of more CTAs",
    ..BEHIND_THE_CODE
};

/// The flag, where all threads have met.
const READ_BEHIND_A_BARRIER: Argument = Argument {
    why: "the bar.sync before it orders all that the CTA's threads wrote, the flag and the cause; the acquire is what the \
          other looks at the flag have",
    ..BEHIND_THE_CODE
};

/// One of the totals.
const PAST_OTHER_TOTALS: Argument = Argument {
    why: "it is moved past a store of the handle, and the stamp's fence behind a barrier orders both before the stamp by which \
          the host reads",
    ..BEHIND_THE_CODE
};

/// A deadline that is a nanosecond nearer.
const A_NANOSECOND: Argument = Argument {
    why:
        "a wait that ends one nanosecond earlier: a deadline promises that it is not far exceeded, and the globaltimer \
          steps by more than that",
    ..BEHIND_THE_CODE
};

/// The first of two waits.
const READ_BEHIND_THE_NEXT: Argument = Argument {
    why: "nothing is read behind this wait but the stamp of the source, whose own wait acquires what the box holds; the wait \
          for the rank that passes boxes on is there to name it",
    ..BEHIND_THE_CODE
};

/// A stride that is too small.
const STAMPED_TWICE: Argument = Argument {
    why: "every rank is still stamped, some twice, by two lanes of one warp with the same value, behind the same fence",
    ..BEHIND_THE_CODE
};

/// A neighbour at another address.
const PAST_OTHER_MEMORY: Argument = Argument {
    why: "it is moved past accesses of other memory, and nobody reads the counts before the kernel ends",
    ..BEHIND_THE_CODE
};

/// A cause that has no fields.
const NO_FIELDS: Argument = Argument {
    why: "the line's code is cancelled, aborted or overlap, and waits_recorded is 0: of such a line `StatusLine::parse` keeps \
          neither detail nor expected nor seen, so no reader exists",
    ..BEHIND_THE_CODE
};

/// A constant 0.
const ZERO_OVER_ZERO: Argument = Argument {
    why: "the value is a constant 0, and the word is 0 from the start of the kernel: it is cleared before the first barrier, \
          and only the thread that won the compare-and-swap of the code writes it",
    ..BEHIND_THE_CODE
};

/// The red that ends a GIVE_UP before a barrier of all threads.
const MET_BEHIND_IT: Argument = Argument {
    text: "red.release.cta.shared.or.b32 [smem+4], 1",
    why: "who gave up here comes to a bar.sync of the whole CTA before anybody reads the fields, and threads that see the word \
          earlier only go to that barrier; it orders the fields whatever the order of the word, which is a release for the \
          places of the same macro where a scout reads without a barrier",
    ..BEHIND_THE_CODE
};

/// A neighbour that touches registers only.
const PAST_A_CONSTANT: Argument = Argument {
    why: "the neighbour that it is moved past makes a register from a constant or another register, and neither uses what the \
          other makes",
    ..BEHIND_THE_CODE
};

/// A flag.
const ANY_BUT_ZERO: Argument =
    Argument { why: "every reader compares the word with 0 only, and 2 is as little 0 as 1", ..BEHIND_THE_CODE };

/// The word that says that a kernel gave up: where it is seen.
const ABORT_OF_ONE_GPU: Argument = Argument {
    text: "[state+48]",
    why: "only threads of this rank's kernels touch the word, all on one GPU; the host clears it before there are kernels and \
          never looks. `.sys` is wider than needed, and the same as of the cancel word beside it",
    ..BEHIND_THE_CODE
};

/// The word that says that a kernel gave up: what it orders.
const ABORT_IS_A_HINT: Argument = Argument {
    why: "a hint: who reads the word reads nothing else by it, so its place among the stores of the line makes no difference",
    ..BEHIND_THE_CODE
};

/// The word that says that a kernel gave up, in a kernel of one CTA.
const ABORT_IN_STREAM_ORDER: Argument = Argument {
    why: "kernels of a communicator are in one stream, so while exchange runs, which is one CTA, nobody else touches the word: \
          its first thread reads what an earlier kernel stored, and stores what a later one reads. Strong so that a launch \
          that wrongly overlaps is no race",
    ..BEHIND_THE_CODE
};

/// Fields of a status line.
const BEHIND_THE_CODE: Argument = Argument {
    kernel: "",
    place: "",
    phase: "",
    text: "",
    change: "",
    why: "the host reads a field only behind its acquire of the code, which the same thread, or lane 0 behind a barrier of \
          the warp, stores later with st.release.sys: that release covers the field whatever its own order and scope",
};

/// The argument for a survivor.
pub fn of(line: &Line) -> Option<&'static Argument> {
    ARGUMENTS.iter().find(|argument| {
        line.kernel.contains(argument.kernel)
            && line.place.contains(argument.place)
            && (argument.phase.is_empty() || line.phase == argument.phase)
            && line.text.contains(argument.text)
            && (argument.change.is_empty() || line.change == argument.change)
    })
}
