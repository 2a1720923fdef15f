//! Survivors that are no holes: why no machine can show a difference.

use super::record::Line;

/// A set of survivors and the argument for them.
#[derive(Debug)]
pub struct Argument {
    /// Part of the kernel's name; empty: any.
    pub kernel: &'static str,
    /// Part of the place (`file:line MACRO from ...`); the file, or the macro.
    pub place: &'static str,
    /// The edge that the instruction is of; empty: any.
    pub edge: &'static str,
    /// Part of the instruction.
    pub text: &'static str,
    /// The change; empty: any.
    pub change: &'static str,
    /// Why.
    pub why: &'static str,
}

/// All arguments.
const ARGUMENTS: &[Argument] = &[
    Argument { change: ".release -> .relaxed", ..CODE_OF_A_LINE },
    Argument { change: ".sys -> .gpu", ..CODE_OF_A_LINE },
    Argument { change: "moved earlier", ..CODE_OF_A_LINE },
    Argument { place: "dispatch.ptx", text: "[status+16], offset", change: "moved later", ..BEHIND_THE_KERNEL },
    Argument { place: "dispatch.ptx", text: "[status+24], capacity", change: "moved later", ..BEHIND_THE_KERNEL },
    Argument { place: "dispatch.ptx", text: "[status+24], capacity", change: "moved earlier", ..BEHIND_THE_KERNEL },
    // What a line without fields holds there.
    Argument { kernel: "mlx5", place: "GIVE_UP from exchange.ptx:332#1", text: "st.shared.u32 [smem+32], source", ..NO_FIELDS },
    Argument { kernel: "mlx5", place: "GIVE_UP from exchange.ptx:332#1", text: "st.shared.u64 [smem+40], stamp", ..NO_FIELDS },
    Argument { kernel: "mlx5", place: "GIVE_UP from exchange.ptx:332#1", text: "st.shared.u64 [smem+48], _seen", ..NO_FIELDS },
    Argument { kernel: "loopback", place: "GIVE_UP from exchange.ptx:332#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { place: "GIVE_UP from exchange.ptx:438#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { place: "GIVE_UP from exchange.ptx:441#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { kernel: "mlx5", place: "GIVE_UP from exchange.ptx:589#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { place: "fabric_mlx5.ptxh:481 FABRIC_BOXES_SENT", text: "sub.u64 _entry, _posted, _behind", ..NO_FIELDS },
    Argument { place: "GIVE_UP from scout.ptxh:87#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { place: "GIVE_UP from frame.ptxh:111#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { place: "GIVE_UP from frame.ptxh:118#0", text: "st.shared.u", ..NO_FIELDS },
    Argument { place: "GIVE_UP from exchange.ptx:332#0", text: "[smem+48], _lost_channel", change: "dropped", ..ZERO_OVER_ZERO },
    Argument { place: "GIVE_UP from exchange.ptx:589#2", text: "[smem+48], _now", change: "dropped", ..ZERO_OVER_ZERO },
    // Giving up where everybody meets behind it.
    Argument { place: "GIVE_UP from exchange.ptx", change: ".release -> .relaxed", ..MET_BEHIND_IT },
    Argument { place: "GIVE_UP from exchange.ptx", change: "moved earlier", ..MET_BEHIND_IT },
    Argument { place: "GIVE_UP from frame.ptxh", change: ".release -> .relaxed", ..MET_BEHIND_IT },
    Argument { place: "GIVE_UP from frame.ptxh", change: "moved earlier", ..MET_BEHIND_IT },
    Argument { place: "GIVE_UP from exchange.ptx:332#0", text: CODE_OF_A_NIC, change: "moved earlier", ..PAST_A_CONSTANT },
    Argument { place: "GIVE_UP from exchange.ptx:589#2", text: CODE_OF_A_NIC, change: "moved earlier", ..PAST_A_CONSTANT },
    Argument { place: "GIVE_UP from scout.ptxh:15#0", text: CODE_OF_A_NIC, change: "moved earlier", ..PAST_A_CONSTANT },
    // The word that says that a kernel gave up, and the one that says that a launch is under way.
    Argument { text: "st.relaxed.gpu.global.u32 [state+48], 1", change: "+1", ..ANY_BUT_ZERO },
    Argument { text: "st.relaxed.gpu.global.u32 [state+48], 1", change: "moved earlier", ..ABORT_IS_A_HINT },
    Argument { text: "st.relaxed.gpu.global.u32 [state+48], 1", change: "moved later", ..ABORT_IS_A_HINT },
    Argument { place: "exchange.ptx", text: "st.relaxed.gpu.global.u32 [state+48], 1", change: "weak", ..ALONE_IN_ITS_STREAM },
    Argument {
        place: "exchange.ptx",
        text: "st.relaxed.gpu.global.u32 [state+48], 1",
        change: ".gpu -> .cta",
        ..ALONE_IN_ITS_STREAM
    },
    Argument { place: "layout.ptx", text: "cas.b32 word, [refused], 0, 1", change: "+1", ..ANY_BUT_ZERO },
    Argument { edge: "overlap", text: "cas.b32 busy", change: "+1", ..ANY_BUT_ZERO },
    Argument { edge: "overlap", text: "cas.b32 busy", change: ".acquire -> .relaxed", ..ONLY_IF_THEY_OVERLAP },
    Argument { edge: "overlap", text: "cas.b32 busy", change: ".gpu -> .cta", ..ONLY_IF_THEY_OVERLAP },
    Argument { edge: "overlap", text: "st.relaxed.gpu.global.u32", change: "weak", ..ONLY_IF_THEY_OVERLAP },
    Argument { edge: "overlap", text: "st.relaxed.gpu.global.u32", change: ".gpu -> .cta", ..ONLY_IF_THEY_OVERLAP },
    Argument { edge: "calls", change: "weak", ..ONLY_IF_THEY_OVERLAP },
    Argument { edge: "calls", change: ".gpu -> .cta", ..ONLY_IF_THEY_OVERLAP },
    Argument { edge: "overlap", change: "moved earlier", ..ONLY_IF_THEY_OVERLAP },
    Argument { edge: "calls", change: "moved later", ..ONLY_IF_THEY_OVERLAP },
    Argument { edge: "leave", text: "bar.sync 0", change: "dropped", ..ONLY_IF_THEY_OVERLAP },
    Argument { place: "dispatch.ptx:663", text: "[stream+44], token_last", change: "+1", ..TOKENS_RISE },
    Argument { edge: "leave", text: "atom.acq_rel.gpu", change: ".acq_rel -> .acquire", ..ONLY_IF_THEY_OVERLAP },
    Argument { edge: "leave", text: "atom.acq_rel.gpu", change: ".acq_rel -> .release", ..ONLY_IF_THEY_OVERLAP },
    // What a stream begins with.
    Argument { place: "ADD_STREAM from dispatch.ptx:102", text: "st.shared.u32 [_at+44], 0", ..NO_TOKEN_BEFORE },
    Argument { place: "ADD_STREAM from combine.ptx", text: "st.shared.u32 [_at+44], 0", ..NO_TOKEN_BEFORE },
    Argument { place: "ADD_STREAM", text: "st.shared.u32 [_at+32], 2", change: "+1", ..ANY_OTHER_KIND },
    Argument { place: "ADD_STREAM", edge: "start", change: "moved later", ..BEFORE_THE_START },
    Argument { place: "ADD_STREAM", edge: "start", change: "moved earlier", ..BEFORE_THE_START },
    Argument { kernel: "dispatch", edge: "barriers-made", text: "fence.mbarrier_init", ..FENCED_BY_EACH_WORKER },
    Argument { kernel: "dispatch", place: "frame.ptxh:83", text: "bar.sync 0", change: "moved earlier", ..PAST_THE_FENCE_OF_BARRIERS },
    Argument { edge: "moves", text: "red.relaxed.cta.shared", change: "+1", ..ANY_OTHER_NUMBER },
    Argument { edge: "moves", text: "red.relaxed.cta.shared", change: "moved later", ..BESIDE_THE_RECORD },
    Argument { edge: "moves", text: "red.relaxed.cta.shared", change: "moved earlier", ..BESIDE_THE_RECORD },
    Argument { kernel: "loopback", place: "worker.ptxh", text: "[stream+36], draining", change: "dropped", ..NOTHING_TO_DRAIN },
    Argument { place: "worker.ptxh:143", text: "[stream+36], draining", change: "dropped", ..AS_IT_WAS_CLAIMED },
    // Load statistics: an array of one layer.
    Argument {
        place: "ADD_TO_LOAD from exchange.ptx:649",
        text: "add.u32 _layer, _layer, 1",
        change: "+1",
        why: "pairs of the local experts are one layer: behind it the sum is whole, whether one or two were counted",
        ..ANY
    },
    // What a destination says when it begins a call.
    Argument { place: "LANDING_OF_THIS_CALL", text: "fence.acq_rel.sys", change: "moved earlier", ..OF_EARLIER_KERNELS },
    Argument { place: "LANDING_OF_THIS_CALL", text: "fence.acq_rel.sys", change: "moved later", ..OF_EARLIER_KERNELS },
    Argument { kernel: "direct", place: "dispatch.ptx", text: "sub.u32 rest, end, next", change: "-1", ..ASKS_AGAIN },
    Argument { kernel: "direct", text: "add.u64 need_value, need_value, taken", change: "-1", ..ASKS_AGAIN },
    // Waits of exchange.
    Argument { text: "sub.u64 _now, _now, _began", change: "+1", ..A_NANOSECOND },
    Argument { place: "scout.ptxh", text: "sub.u64 value, now, began", change: "+1", ..A_NANOSECOND },
    Argument { place: "FABRIC_OPEN", text: "sub.u64 _behind, _posted, _address", change: "+1", ..SEEN_AGAIN_BY_THE_SCOUT },
    Argument { place: "FABRIC_OPEN", text: "sub.u64 _behind, _posted, _address", change: "-1", ..UNTIL_THE_FIRST_LOOK },
    Argument { place: "FABRIC_OPEN", text: "ld.acquire.sys.global.u64 _entry", change: ".acquire -> .relaxed", ..WAITED_FOR_BY_THE_LAST },
    Argument { place: "FABRIC_CREDIT_FREE", text: "_queue", change: "dropped", ..WAITS_LONGER },
    Argument { place: "fabric_mlx5.ptxh:323 FABRIC_CREDIT_FREE", text: "sub.u64 need", change: "+1", ..WAITS_LONGER },
    Argument { place: "FABRIC_PUT", text: "add.u32 _low, _low, lane", change: "-1", ..WAITS_LONGER },
    Argument { kernel: "combine", place: "FABRIC_PUT", text: "[_word], _posted", change: "+1", ..WAITS_LONGER },
    Argument { kernel: "combine", text: "add.u64 reach, reach, position", change: "+1", ..ONE_SLOT_MORE },
    Argument { kernel: "combine", text: "sub.u64 need_value, reach, depth", change: "+1", ..ONE_SLOT_MORE },
    Argument { kernel: "loopback", place: "combine.ptx", text: "sub.u64 before, sums, before", change: "+1", ..CREDIT_BEFORE_THE_QUARTER },
    Argument { kernel: "combine_staged_bf16_loopback", place: "combine.ptx:548", ..CREDIT_IS_ALWAYS_FREE },
    Argument { kernel: "combine_staged_bf16_loopback", place: "from combine.ptx:549", ..CREDIT_IS_ALWAYS_FREE },
    Argument { kernel: "combine_staged_bf16_loopback", place: "from combine.ptx:550", ..CREDIT_IS_ALWAYS_FREE },
    Argument { kernel: "loopback", place: "dispatch.ptx", text: "sub.u64 before, taken, before", change: "+1", ..CREDIT_BEFORE_THE_QUARTER },
    Argument {
        place: "AWAIT_STAMP from exchange.ptx:438#0",
        text: "ld.acquire.sys.global.u64 _seen",
        change: ".acquire -> .relaxed",
        ..READ_BEHIND_THE_NEXT
    },
    Argument { place: "exchange.ptx", text: "add.u32 to, to, 32", change: "-1", ..STAMPED_TWICE },
    Argument { place: "FABRIC_BOXES_SENT", text: "add.u32 _to, _to, threads", change: "-1", ..WAITED_FOR_TWICE },
    Argument { kernel: "exchange_mlx5", place: "fabric_mlx5.ptxh:80 WRITE_ENTRY from exchange.ptx:308#0", ..NO_ATOMIC },
    Argument { kernel: "exchange_loopback", place: "exchange.ptx", text: "add.u32 to, to, threads", change: "-1", ..STAMPED_TWICE },
    Argument {
        kernel: "exchange_loopback",
        place: "MEET_OR_LEAVE from exchange.ptx:590",
        text: "ld.relaxed.cta.shared.u32 _given_up",
        change: "weak",
        ..NOBODY_GIVES_UP_HERE
    },
    // Of the start of a combine CTA.
    Argument { kernel: "combine", edge: "barriers-made", text: "fence.mbarrier_init", change: "moved later", ..TWO_MORE_MEETINGS },
    Argument { kernel: "combine", place: "frame.ptxh:83", text: "bar.sync 0", change: "moved earlier", ..TWO_MORE_MEETINGS },
    // Claims.
    Argument { edge: "status", text: "bar.warp.sync", change: "dropped", ..CODE_OF_A_LINE_IN_SHORT },
    Argument { place: "RING_ACQUIRED", text: "fence.proxy.async.global", change: "moved later", ..BEFORE_THE_COPIES },
    Argument { kernel: "combine", place: "HAND_TO_BULK_UNIT from mover.ptxh", text: "fence.proxy.async", change: "dropped", ..FENCED_AT_THE_HEADER },
    Argument { place: "worker.ptxh", text: "sub.u32 at_word, at_word, kind_word", ..ANY_FIRST },
    Argument { edge: "left", text: "red.relaxed.cta.shared", change: "moved earlier", ..BESIDE_THE_RECORD },
    Argument { text: "mbarrier.arrive.expect_tx", change: "moved later", ..COUNTED_AGAINST },
    Argument { place: "dispatch.ptx:333", text: "sub.u32 rest, end, next", change: "dropped", ..ARRIVALS_END_THERE },
    Argument { place: "dispatch.ptx:333", text: "sub.u32 rest, end, next", change: "+1", ..ARRIVALS_END_THERE },
    Argument { place: "dispatch.ptx", text: "@builds st.shared.u32 [at], 0", ..PADDING },
    // What a NIC's write follows.
    Argument { kernel: "dispatch_staged_mlx5", edge: "head", text: " head, [need_address]", change: ".acquire -> .relaxed", ..FENCED_BEFORE_THE_DOORBELL },
    Argument { kernel: "mlx5", place: "combine.ptx:425", text: " head, [need_address]", change: ".acquire -> .relaxed", ..FENCED_BEFORE_THE_DOORBELL },
    Argument { place: "FABRIC_CREDIT_FREE", text: "ld.acquire.cta", change: ".acquire -> .relaxed", ..FENCED_BEFORE_THE_ENTRY },
    Argument { kernel: "mlx5", place: "FABRIC_PUT", text: "bar.warp.sync", change: "moved earlier", ..BEHIND_THE_NEXT_CLAIM },
    Argument { place: "FABRIC_COMPLETIONS", edge: "lanes", text: "bar.warp.sync", change: "dropped", ..RELEASED_BY_EACH_LANE },
    Argument { kernel: "mlx5", place: "scout.ptxh:47", text: "bar.warp.sync", change: "dropped", ..MET_AT_THE_NEXT_LOOK },
    // Copies.
    Argument { place: "DRAIN_OWN_AND_FENCE from combine.ptx:671", text: "wait_group 0", change: "moved later", ..RESULTS_END_WITH_THE_KERNEL },
    Argument { place: "DRAIN_OWN_AND_FENCE from combine.ptx:671", text: "wait_group 0", change: "only .read", ..RESULTS_END_WITH_THE_KERNEL },
    Argument { place: "DRAIN_OWN_AND_FENCE from combine.ptx:671", text: "fence.acq_rel.sys", change: "moved earlier", ..RESULTS_END_WITH_THE_KERNEL },
    Argument { place: "DRAIN_OWN_AND_FENCE from combine.ptx:394", text: "fence.acq_rel.sys", change: "moved later", ..PAST_A_POSITION },
    Argument { place: "mover.ptxh", text: "cp.async.bulk.wait_group.read 1", change: "moved later", ..WAIT_AND_FENCE },
    Argument { place: "HAND_TO_BULK_UNIT from mover.ptxh", text: "fence.proxy.async", change: "moved earlier", ..WAIT_AND_FENCE },
    Argument { place: "HAND_TO_BULK_UNIT", text: "fence.proxy.async", change: "moved later", ..FENCED_BY_WHO_COPIES },
    Argument { place: "HAND_TO_BULK_UNIT", text: "bar.warp.sync", change: "moved earlier", ..FENCED_BY_WHO_COPIES },
    Argument { kernel: "dispatch", edge: "barriers-made", text: "mbarrier.init", change: "moved later", ..FENCED_BY_EACH_WORKER },
    // Doorbells.
    Argument { edge: "doorbell", text: "[_bell_record], _bell_count", change: "+1", ..TOP_BYTE },
    Argument {
        kernel: "exchange",
        edge: "doorbell",
        text: "[_bell_record], _bell_count",
        change: ".release -> .relaxed",
        ..A_QUEUE_AT_REST
    },
    Argument { kernel: "exchange", edge: "doorbell", text: "[_bell_record], _bell_count", change: ".sys -> .gpu", ..A_QUEUE_AT_REST },
    // Neighbours that are something else.
    Argument { place: "layout.ptx", edge: "expert-rows", change: "moved later", ..PAST_OTHER_MEMORY },
    Argument { place: "exchange.ptx", edge: "start", text: "bar.sync 0", change: "moved later", ..PAST_A_LOAD_OF_THE_STATE },
    Argument { place: "exchange.ptx", edge: "totals", text: "fence.acq_rel.sys", change: "moved earlier", ..PAST_THE_STATE },
    // A lane of the scout gives up.
    Argument { place: "GIVE_UP from scout.ptxh", text: "red.release.cta.shared", change: ".release -> .relaxed", ..IN_THE_SCOUT },
    Argument { place: "GIVE_UP from scout.ptxh", text: "red.release.cta.shared", change: "moved earlier", ..IN_THE_SCOUT },
    Argument { place: "exchange.ptx:589#0", text: "red.release.cta.shared", change: "dropped", ..THE_NEXT_KERNEL_SEES_IT },
    // Words of the handle's head.
    Argument {
        place: "layout.ptx",
        text: "st.global.u32 [handle+4], 0",
        why: "nobody reads the word before exchange, which follows in the same stream, stores the rows there: only dispatch \
              reads it, and it is launched once the exchange gave its totals",
        ..ANY
    },
];

/// The code of a line, where the host cannot look too early.
const ASKS_AGAIN: Argument = Argument {
    why: "a stream of rows that land wakes with one row less than it asked for, counts what the tail says, and asks for the \
          rest; where nothing came it asks for one row",
    ..ANY
};
const OF_EARLIER_KERNELS: Argument = Argument {
    why: "the fence is for what earlier kernels of the stream did with the rows, and all of that is before the first \
          instruction; it still stands before the words that open flows",
    ..ANY
};

const CODE_OF_A_LINE: Argument = Argument {
    text: "st.release.sys.global.u32 [status]",
    why: "the host reads lines only when the event behind the kernel is reached or its stream is idle (`exec::wait_totals`, \
          `Shared::settle`), and the end of a kernel orders all that its threads wrote before it; so the order of the code \
          among the fields serves only who looks at a line while the kernel runs, such as a debugger after a hang",
    ..ANY
};

/// A field that is stored behind the code, where the host cannot look too early.
const BEHIND_THE_KERNEL: Argument = Argument {
    why: "the host reads the line only when the kernel has ended (`Shared::settle`), which orders the field whether it is \
          stored before the code or behind it",
    ..ANY
};

/// A lane of the warp that reads the cause.
const IN_THE_SCOUT: Argument = Argument {
    why: "the fields are read by lane 0 of the same warp, behind the bar.warp.sync that ends the look at completions; other \
          warps read the word only, to leave",
    ..ANY
};

/// A cancel that comes when all that exchange has left to do is to wait for its own sends.
const THE_NEXT_KERNEL_SEES_IT: Argument = Argument {
    why: "the cancel stays set: dispatch, next in the stream, ends by it at its first look with the same line, and only a \
          later exchange, which never comes, would have to know that the own boxes have left",
    ..ANY
};

/// A barrier and a word of an earlier kernel.
const PAST_A_LOAD_OF_THE_STATE: Argument = Argument {
    why: "the start's barrier is moved past each thread's load of the abort word, which threads of this kernel write only \
          behind it; what the barrier orders, the cleared control words, is used later",
    ..ANY
};

/// A deadline that is a nanosecond nearer.
const A_NANOSECOND: Argument = Argument {
    why:
        "a wait that ends one nanosecond earlier: a deadline promises that it is not far exceeded, and the globaltimer \
          steps by more than that",
    ..ANY
};

/// Completions as a kernel finds them.
const SEEN_AGAIN_BY_THE_SCOUT: Argument = Argument {
    why: "one completion is forgotten; the scout compares the queue's counter with what is known and adds it at its first look",
    ..ANY
};

/// A count that is too high until the scout has looked.
const UNTIL_THE_FIRST_LOOK: Argument = Argument {
    why: "where nothing is behind, 65,535 requests seem to be: the count is too low by as much or, before the 65,535th, too \
          high, until the scout's first look, which adds what the queue's counter is ahead by and so makes it exact. Streams that \
          wait for arrivals are woken behind that look. A send asks before it for slots whose requests the kernel before has \
          waited for, or that its peer has given back, which it does behind the NIC's read",
    ..ANY
};

/// Requests of an earlier kernel.
const WAITED_FOR_BY_THE_LAST: Argument = Argument {
    why: "the requests whose slots would be written again are of an earlier kernel, whose senders waited for each of them \
          (`quiet`) by the scout's acquire; the end of that kernel orders the rest. What is behind are credits, which read no slot",
    ..ANY
};

/// More is waited for than is needed.
const WAITS_LONGER: Argument = Argument {
    why: "the stream waits for completions of more of the requests that are already posted than it must: they come by \
          themselves, and then it goes on. A chunk is at most half of the ring (`Tuning::check`), so behind the chunk that used \
          a slot another one is posted before the slot's turn comes again",
    ..ANY
};

/// A ring of which a slot is left free.
const ONE_SLOT_MORE: Argument = Argument {
    why: "a claim asks for one slot more than it fills. It fills at most half of the ring (`Tuning::check`), so the ring has it \
          once the peer has taken all: slower, never stuck, and nothing is written elsewhere",
    ..ANY
};

/// A place that this fabric does not come to.
const CREDIT_IS_ALWAYS_FREE: Argument = Argument {
    why: "loopback has no credit queues: FABRIC_CREDIT_FREE always says free there, and the branch to this place is never taken",
    ..ANY
};

/// A queue that is waited for by two threads.
const WAITED_FOR_TWICE: Argument = Argument {
    why: "every queue is still waited for, some by two threads, and a wait for what is done ends at once",
    ..ANY
};

/// An entry that is a write.
const NO_ATOMIC: Argument = Argument {
    why: "the fourth block of an entry is an atomic's; of the two entries of a box this is the write, whose predicate is false",
    ..ANY
};

/// Results, which nobody reads before the kernel ends.
const RESULTS_END_WITH_THE_KERNEL: Argument = Argument {
    why: "the stores waited for here are results. Nobody reads them before the kernel ends, which orders them; the credit behind \
          the fence is for slots whose loads were awaited at their mbarriers. That shared memory is read before it goes is waited \
          for all the same, and that the wait is there at all is seen (`Checks::unawaited_copies`)",
    ..ANY
};

/// A fence and a position that only this kernel reads.
const PAST_A_POSITION: Argument = Argument {
    why: "it is moved past the store of the stream's own position, which nobody but the stream's next owner reads, behind the \
          release where the stream is given back",
    ..ANY
};

/// The flag of streams that wait for completions, where it cannot have changed.
const AS_IT_WAS_CLAIMED: Argument = Argument {
    why: "a claim sets the flag only on its way to be ready again; a stream that is given back to wait has it as it was claimed",
    ..ANY
};

/// A kind of stream.
const ANY_OTHER_KIND: Argument =
    Argument { why: "workers take whatever is neither send nor forward for receive, and so does `Wait::parse`", ..ANY };

/// Slots that are free and not told.
const CREDIT_BEFORE_THE_QUARTER: Argument = Argument {
    why: "credit goes back one message before a quarter of the ring is free: what is told, the position, is right, and a quarter \
          is only what keeps credits rare",
    ..ANY
};

/// The first of two waits.
const READ_BEHIND_THE_NEXT: Argument = Argument {
    why: "nothing is read behind this wait but the stamp of the source, whose own wait acquires what the box holds; the wait \
          for the rank that passes boxes on is there to name it",
    ..ANY
};

/// What threads look at when they meet for the last time.
const NOBODY_GIVES_UP_HERE: Argument = Argument {
    why: "in this fabric no thread waits or gives up between this meeting and the one before, so nobody writes the word beside it",
    ..ANY
};

/// The start of a CTA.
const TWO_MORE_MEETINGS: Argument = Argument {
    why: "behind it the CTA meets twice more, when its number is drawn and when its streams are made, before any worker makes a \
          copy: the fence may stand behind the first of the three meetings as well",
    ..ANY
};

/// A meeting between the fields of a status line and its code.
const CODE_OF_A_LINE_IN_SHORT: Argument = Argument {
    why: "it puts the fields that other lanes store before the code; the host reads lines only behind the end of the kernel, \
          which orders them anyway. It serves who looks at a line while the kernel runs, such as a debugger after a hang",
    ..ANY
};

/// The fence between what a warp acquired and its copies.
const BEFORE_THE_COPIES: Argument = Argument {
    why: "it is moved past an access that is no bulk copy, and the copies that it is for come later still",
    ..ANY
};

/// The fence before a load, where only lanes that wrote a header touched the stage.
const FENCED_AT_THE_HEADER: Argument = Argument {
    why: "a combine's warp that moves rows touches its stages only to write headers, and fences behind each (`on_header`); the \
          fence before a load is for dispatch, whose lanes read what has landed",
    ..ANY
};

/// Bytes that are expected and a load of them.
const COUNTED_AGAINST: Argument = Argument {
    why: "it is moved past the load of its bytes: what lands first is counted against them, and the phase ends only when the \
          arrival, which comes with the expectation, is made too (PTX ISA, \"tx-count\")",
    ..ANY
};

/// The bound of what a stream still has to do, where arrivals bound it as well.
const ARRIVALS_END_THERE: Argument = Argument {
    why: "of a flow that comes from a ring no message of a later call can be there: its sender begins that call behind an \
          exchange in which this rank takes part, when this stream is done. So the messages that have arrived are the bound",
    ..ANY
};

/// Bytes between a header and the row.
const PADDING: Argument = Argument {
    why: "nobody reads the padding of a header; it is zero so that no slot holds what other kernels left in shared memory",
    ..ANY
};

/// The head of a ring that a NIC fills.
const FENCED_BEFORE_THE_DOORBELL: Argument = Argument {
    why: "what must come behind the peer's reads is the NIC's write to its ring, and that follows a doorbell; between the load \
          and the doorbell stands DRAIN_AND_FENCE, whose fence.acq_rel.sys makes an acquire pattern of a relaxed load too. Over \
          loopback, where bulk stores fill the peer's ring before that fence, the race check sees it",
    ..ANY
};

/// The count of credits that are done.
const FENCED_BEFORE_THE_ENTRY: Argument = Argument {
    why: "what must come behind the NIC's reads is the next entry of the credit queue, and between the load and that entry stands \
          the claim's fence.acq_rel.sys (`moved_all`, DRAIN_OWN_AND_FENCE), which makes an acquire pattern of a relaxed load too",
    ..ANY
};

/// The meeting at the end of a look at completions.
const RELEASED_BY_EACH_LANE: Argument = Argument {
    why: "each lane releases the counts that it raises, and whoever uses one acquires it; a lane that gives up releases the \
          fields, and every lane acquires the word that says so. The lanes meet again at the vote over the first word of waiting \
          streams. It is there so that a look ends for all lanes at once",
    ..ANY
};

/// The meeting of lanes behind a group of waiting streams.
const MET_AT_THE_NEXT_LOOK: Argument = Argument {
    why: "the next group of streams has a word of its own; before the scout looks at the same word again, its lanes meet at the \
          end of the next look at completions (the last barrier of FABRIC_COMPLETIONS), which lane 0 reaches behind its \
          atomics. Without completions, in the loopback fabric, the barrier is the only one, and its loss is caught",
    ..ANY
};

/// The meeting of lanes that wrote work-queue entries.
const BEHIND_THE_NEXT_CLAIM: Argument = Argument {
    why: "it is moved past the stores that say what slots wait for, which the next owner of the stream reads, behind the meeting \
          where the stream is given back; the entries themselves are still before it",
    ..ANY
};

/// Where a worker begins to look for a stream.
const ANY_FIRST: Argument = Argument {
    why: "whatever stream it begins with, it looks once at every word of the kind, and at the first word's lower bits again: \
          which ready stream is taken first is fairness, and no result depends on it",
    ..ANY
};

/// A wait for reads of the bulk unit, and a fence for accesses of lanes.
const WAIT_AND_FENCE: Argument = Argument {
    why: "the wait is for what the bulk unit read, the fence for what lanes did, and both stand before the barrier behind which \
          a lane issues the load: neither needs the other's result",
    ..ANY
};

/// The fence on the other side of the warp's meeting.
const FENCED_BY_WHO_COPIES: Argument = Argument {
    why: "the lane that issues the copy then fences between proxies behind the meeting, which lies on every path from the other \
          lanes' accesses to the copy: by the memory model that suffices. The order here, each lane fencing what it did \
          itself, is the one that vendors document",
    ..ANY
};

/// The send counter of a doorbell record.
const TOP_BYTE: Argument = Argument {
    why: "the word is big-endian: one more is in its top byte, and the counter is the low 16 bits (mlx5dv: `& 0xffff`)",
    ..ANY
};

/// Order of a doorbell record where a fence stands before the doorbell.
const A_QUEUE_AT_REST: Argument = Argument {
    why: "a device reads a record on its own only while it is at work on the queue, and this queue is at rest: exchange waits \
          for the requests of one call before the next. Here it reads behind the doorbell, and the fence before that orders \
          entries and record; the release is for the queues of dispatch and combine, which are never at rest",
    ..ANY
};

/// A stride that is too small.
const STAMPED_TWICE: Argument = Argument {
    why: "every rank is still stamped, some twice, by two lanes of one warp with the same value, behind the same fence",
    ..ANY
};

/// A neighbour at another address.
const PAST_OTHER_MEMORY: Argument = Argument {
    why: "it is moved past accesses of other memory, and nobody reads the counts before the kernel ends",
    ..ANY
};

/// A cause that has no fields.
const NO_FIELDS: Argument = Argument {
    why: "the line's code is cancelled, aborted, overlap or timeout: of such a line `StatusLine::parse` keeps neither detail nor \
          expected nor seen, so no reader exists",
    ..ANY
};

/// A constant 0.
const ZERO_OVER_ZERO: Argument = Argument {
    why: "the value is a constant 0, and the word is 0 from the start of the kernel: it is cleared before the first barrier, \
          and only the thread that won the compare-and-swap of the code writes it",
    ..ANY
};

/// The red that ends a GIVE_UP before a barrier of all threads.
const MET_BEHIND_IT: Argument = Argument {
    text: "red.release.cta.shared.or.b32 [smem+4], 1",
    why: "who gave up here comes to a bar.sync of the whole CTA before anybody reads the fields, and threads that see the word \
          earlier only go to that barrier; it orders the fields whatever the order of the word, which is a release for the \
          places of the same macro where a scout reads without a barrier",
    ..ANY
};

/// A neighbour that touches registers only.
const PAST_A_CONSTANT: Argument = Argument {
    why: "the neighbour that it is moved past makes a register from a constant or another register, and neither uses what the \
          other makes",
    ..ANY
};

/// A flag.
const ANY_BUT_ZERO: Argument =
    Argument { why: "every reader compares the word with 0 only, and 2 is as little 0 as 1", ..ANY };

/// The word that says that a kernel gave up: what it orders.
const ABORT_IS_A_HINT: Argument = Argument {
    why: "a hint: who reads the word reads nothing else by it, so its place among the stores of the line makes no difference",
    ..ANY
};

/// The compare-and-swap of the code where a NIC has failed.
const CODE_OF_A_NIC: &str = "cas.b32 _cause, [smem+28], 0, 2";

/// Words that launches of one operation hand on.
const ONLY_IF_THEY_OVERLAP: Argument = Argument {
    why: "launches of a communicator are in one stream, and the end of a kernel orders all it wrote before the next: order and \
          scope serve a launch that wrongly overlaps, which is told by the word and ends",
    ..ANY
};

/// A field of streams that check what arrives.
const NO_TOKEN_BEFORE: Argument = Argument {
    why: "a send reads its own tokens and checks no header: of its record nobody reads the least token to come",
    ..ANY
};

/// Streams are made known.
const BEFORE_THE_START: Argument = Argument {
    why: "the count and the bit of a stream change places, or with stores to its record: no worker looks before the barrier \
          behind which all streams are made",
    ..ANY
};

/// The least token that a flow's next header may name, at a receiver.
const TOKENS_RISE: Argument = Argument {
    why: "a receiver looks at each message once, and tokens of a flow rise: what comes next is the last token plus one or more",
    ..ANY
};

/// The fence of fresh mbarriers.
const FENCED_BY_EACH_WORKER: Argument = Argument {
    why: "the barrier behind it orders the initialization before every worker, and each worker passes a fence.proxy.async of \
          its own before its first bulk load (`fill` of the mover). Combine's summer has no such fence: there the race check \
          sees it dropped",
    ..ANY
};

/// A barrier past a fence that another one covers.
const PAST_THE_FENCE_OF_BARRIERS: Argument = Argument {
    why: "it is moved past fence.mbarrier_init only, which is itself covered by each worker's fence between proxies",
    ..ANY
};

/// A counter that is compared with what it was.
const ANY_OTHER_NUMBER: Argument =
    Argument { why: "the scout asks only whether the count changed since it looked last", ..ANY };

/// A counter that tells the scout of progress.
const BESIDE_THE_RECORD: Argument = Argument {
    why:
        "it is moved past a store of the record or past the count of streams, and the scout, which counts time without \
          progress, reads nothing else by it",
    ..ANY
};

/// The flag of streams that wait for completions.
const NOTHING_TO_DRAIN: Argument = Argument {
    why: "in this fabric a stream that drains is done when it is next claimed: it is never given back to wait with the flag set",
    ..ANY
};

/// A fence and a word of the own state.
const PAST_THE_STATE: Argument = Argument {
    why: "it is moved past the store of the exchange's number in the private state, which only the next kernel reads",
    ..ANY
};

/// The word that says that a kernel gave up, stored by `exchange`.
const ALONE_IN_ITS_STREAM: Argument = Argument {
    why: "no other kernel of the rank runs beside exchange, and no other thread of it looks at the word any more: kernels behind it \
          see it by the stream's order",
    ..ANY
};

/// Anything.
const ANY: Argument = Argument { kernel: "", place: "", edge: "", text: "", change: "", why: "" };

/// The argument for a survivor.
pub fn of(line: &Line) -> Option<&'static Argument> {
    ARGUMENTS.iter().find(|argument| {
        line.kernel.contains(argument.kernel)
            && line.place.contains(argument.place)
            && (argument.edge.is_empty() || line.edge.as_deref() == Some(argument.edge))
            && line.text.contains(argument.text)
            && (argument.change.is_empty() || line.change == argument.change)
    })
}
