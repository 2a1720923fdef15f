//! Constant blocks that kernels read, and the status line that they write: one field list for Rust and PTX.
//!
//! `ptx/include/blocks.ptxh` is generated from these lists ([`header`]); a test compares the committed file.

/// Number of waiting streams that a status line records.
pub const STATUS_WAITS: usize = 4;

/// Numbers of the causes in a status line (`CODE_*` in `ptx/include/blocks.ptxh`).
pub const CODES: &[(&str, u32)] = &[
    ("TIMEOUT", 1),
    ("NIC", 2),
    ("STALE_SLOT", 3),
    ("CANCELLED", 4),
    ("OVERLAP", 5),
    ("EXPERT", 6),
    ("DISAGREE", 7),
    ("OVERFLOW", 8),
    ("ABORTED", 9),
    ("WEIGHTS", 10),
];

trait Put {
    fn put(&self, bytes: &mut [u8]);
}

impl Put for u32 {
    fn put(&self, bytes: &mut [u8]) {
        bytes[..4].copy_from_slice(&self.to_le_bytes());
    }
}

impl Put for u64 {
    fn put(&self, bytes: &mut [u8]) {
        bytes[..8].copy_from_slice(&self.to_le_bytes());
    }
}

impl<const N: usize> Put for [u32; N] {
    fn put(&self, bytes: &mut [u8]) {
        for (index, value) in self.iter().enumerate() {
            value.put(&mut bytes[4 * index..]);
        }
    }
}

macro_rules! block {
    ($(#[$meta:meta])* $name:ident, $prefix:literal { $($(#[$field_meta:meta])* $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[allow(missing_docs)] // fields that belong together share one sentence
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty),* }

        impl $name {
            /// Bytes of the block.
            pub const BYTES: usize = std::mem::size_of::<$name>();

            /// Name and byte offset of every field, in order.
            pub const FIELDS: &'static [(&'static str, usize)] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field))),*];

            /// The block as the kernels read it.
            pub fn to_bytes(&self) -> Vec<u8> {
                let mut bytes = vec![0; Self::BYTES];
                $(self.$field.put(&mut bytes[std::mem::offset_of!($name, $field)..]);)*
                bytes
            }

            fn defines(text: &mut String) {
                for (field, offset) in Self::FIELDS {
                    text.push_str(&format!("#define {}_{} {}\n", $prefix, field.to_uppercase(), offset));
                }
                text.push_str(&format!("#define {}_BYTES {}\n\n", $prefix, Self::BYTES));
            }
        }
    };
}

block! {
    /// Constants of a communicator at one rank.
    CommBlock, "COMM" {
        /// This rank, its node and its index in the node.
        rank: u32, node: u32, local: u32,
        /// The world.
        nodes: u32, gpus: u32, ranks: u32,
        /// Channels of the protocol.
        channels: u32,
        /// Experts of the world and of a rank; experts a token chooses.
        experts: u32, experts_per_rank: u32, topk: u32,
        /// Where output rows are ordered by expert: the channels, and what each expert's rows are aligned to; else 1 and 0.
        expert_channels: u32, expert_align: u32,
        /// 32-bit words of a node's destination mask.
        mask_words: u32,
        /// Bound of tokens a rank.
        max_tokens: u32,
        /// Bytes of a row on its way to the experts, and on its way back.
        dispatch_row_bytes: u32, combine_row_bytes: u32,
        /// Bytes of a row that is given to dispatch.
        given_row_bytes: u32,
        /// Scales of a row, bytes of one, where they are in a dispatch slot; whether they are made powers of two.
        scales: u32, scale_bytes: u32, scales_at: u32, scale_power_of_two: u32,
        /// Dispatch slot: header, header and row, padded.
        dispatch_header_bytes: u32, dispatch_used_bytes: u32, dispatch_slot_bytes: u32,
        /// Combine slot: header, header and row, padded.
        combine_header_bytes: u32, combine_used_bytes: u32, combine_slot_bytes: u32,
        /// Ring depths in slots, powers of two, and the credit quantum between nodes.
        depth_ib: u32, depth_nv: u32, credit_ib: u32,
        /// Bytes of an exchange box between nodes, and of one within a node.
        box_bytes: u32, rows_box_bytes: u32,
        /// What all ranks must agree on.
        plan_hash: u64,
        /// Own window; table of the node's windows as mapped here; table of the rail's windows (loopback only).
        window: u64, peers: u64, rails: u64,
        /// Queue table (`QueueBlock`, mlx5 only) and private state.
        queues: u64, state: u64,
        /// Window offsets: words that peers advance.
        dispatch_forward_tail: u64, dispatch_send_head: u64, dispatch_receive_tail: u64, dispatch_receive_head: u64,
        combine_partial_tail: u64, combine_partial_head: u64, combine_sum_tail: u64, combine_send_head: u64,
        box_stamp: u64, rows_stamp: u64,
        /// Window offsets: boxes, a scrap word a queue for what a fetch-and-add returns, rings.
        box_out: u64, box_in: u64, rows_in: u64, scrap: u64,
        dispatch_send_ring: u64, dispatch_forward_ring: u64, dispatch_receive_ring: u64,
        combine_send_ring: u64, combine_sum_ring: u64, combine_partial_ring: u64,
        /// Window offsets: words by which flows into landing zones are opened, and the arrays of the zone.
        landing_open: u64, landing_x: u64, landing_scales: u64, landing_idx: u64, landing_weights: u64,
        landing_source: u64,
        /// State offsets: positions in rings, in slots since the communicator was made.
        dispatch_send_position: u64, dispatch_forward_in: u64, dispatch_forward_out: u64,
        dispatch_forward_credited: u64, dispatch_receive_position: u64,
        combine_send_position: u64, combine_forward_in: u64, combine_forward_out: u64,
        combine_sum_in: u64, combine_sum_credited: u64,
        /// State offsets: work requests posted a queue, and the count of requests that frees each send slot.
        posted: u64, exchange_posted: u64, dispatch_slot_requests: u64, combine_slot_requests: u64,
        /// State offsets: what exchanges counted, to be read by balancers.
        load_calls: u64, load_sent_pairs: u64, load_received_pairs: u64, load_sent_rows: u64, load_received_rows: u64,
        /// Handle offsets.
        token_masks: u64, send_tokens: u64, send_messages: u64, send_rows: u64, expert_rows: u64,
        forward_messages: u64, forward_base: u64, receive_rows: u64, receive_base: u64,
        forward_masks: u64,
        expert_totals: u64, expert_offsets: u64, expert_base: u64, expert_next: u64,
    }
}

block! {
    /// Constants of one launch: chunks, roles, and the layout of shared memory.
    LaunchBlock, "LAUNCH" {
        /// Messages of a claim between nodes and within.
        chunk_ib: u32, chunk_nv: u32,
        /// Worker warps; the scout is the warp after them.
        workers: u32,
        /// 32-bit words of the bit sets of each kind of stream, and of all kinds.
        send_words: u32, forward_words: u32, receive_words: u32, words: u32,
        /// Shared memory offsets.
        barriers: u32, completed: u32, scratch: u32, streams: u32, stages: u32, results: u32,
        /// Shared memory of one worker.
        scratch_bytes: u32, stage_bytes: u32, result_bytes: u32,
        /// Offset in a worker's scratch of what follows its lists and positions: rows of each local expert, or weights.
        counters: u32,
        /// Bytes of a moving piece: a quarter of the stages.
        piece_bytes: u32,
        /// Order in which each worker looks for work: 4 bits a kind, kind + 1, low first, 0 ends.
        roles: [u32; 32],
    }
}

block! {
    /// A queue pair as a kernel drives it.
    QueueBlock, "QUEUE" {
        /// Send queue, send word of the doorbell record, doorbell register, collapsed completion entry.
        send_queue: u64, record: u64, doorbell: u64, completion: u64,
        /// The peer's window as its NIC knows it, and this queue's scrap word.
        remote_window: u64, scrap: u64,
        /// Queue pair number, entries minus one, keys.
        number: u32, mask: u32, local_key: u32, remote_key: u32,
    }
}

block! {
    /// Head of a rank's private state: what calls of one communicator share.
    StateHead, "STATE" {
        /// Dispatch: CTA number drawn at start, CTAs that left, launch under way, calls ended.
        dispatch_ticket: u32, dispatch_left: u32, dispatch_busy: u32, dispatch_calls: u32,
        /// Combine: likewise.
        combine_ticket: u32, combine_left: u32, combine_busy: u32, combine_calls: u32,
        /// Exchanges ended.
        exchanges: u64,
        /// Set by the host, while kernels look: all CTAs of this and later kernels leave.
        cancel: u64,
        /// Set by a kernel that gave up, with the same effect.
        abort: u32,
    }
}

block! {
    /// Head of a handle.
    HandleHead, "HANDLE" {
        /// Tokens of this rank.
        tokens: u32,
        /// Rows that dispatch delivers here.
        rows: u32,
    }
}

block! {
    /// Host-mapped totals of an exchange; the counts per local expert follow.
    TotalsHead, "TOTALS" {
        /// Exchange number, stored last.
        stamp: u64,
        /// Rows that dispatch delivers here, and how many there are of tokens, one for each that comes here.
        rows: u32, rank_rows: u32,
    }
}

block! {
    /// A stream in shared memory: the work at one end of a flow.
    StreamRecord, "STREAM" {
        /// Node or rank at the other end, and channel.
        peer: u32, channel: u32,
        /// Messages done and messages in all.
        next: u32, end: u32,
        /// Word that must be reached before the stream can go on.
        need_address: u64, need_value: u64,
        /// Kind, and whether only completions are awaited.
        kind: u32, draining: u32,
        /// Kind's own: first row, token or mask; token of the last header that came.
        base: u32, token_last: u32,
        /// Rank that has to act before the stream can go on.
        awaited: u32, reserved: u32,
    }
}

block! {
    /// Head of a status line; [`StatusWait`]s follow.
    StatusHead, "STATUS" {
        /// Cause, stored last; 0 while none.
        code: u32,
        /// Waiting streams recorded.
        waits_recorded: u32,
        /// CTA number.
        cta: u32,
        /// Cause's own (syndrome, peer, token).
        detail: u32,
        /// Cause's own (expected and seen values).
        expected: u64, seen: u64,
    }
}

block! {
    /// A stream that was waiting when a CTA gave up.
    StatusWait, "WAIT" {
        /// Kind in bits 0 to 7, draining in bit 8, channel from bit 16.
        stream: u32,
        /// Rank waited for.
        peer: u32,
        /// Value of the word waited for: needed and seen.
        needed: u64, seen: u64,
    }
}

/// Bytes of a status line.
pub const STATUS_LINE_BYTES: usize = StatusHead::BYTES + STATUS_WAITS * StatusWait::BYTES;

const _: () = assert!(QueueBlock::BYTES == 64 && StreamRecord::BYTES == 56 && STATUS_LINE_BYTES == 128);

/// Text of `ptx/include/blocks.ptxh`.
pub fn header() -> String {
    let mut text = String::from(
        "/* Byte offsets of the blocks shared with the host. Generated from src/plan/blocks.rs: do not edit;\n \
         * `cargo run -p xtask -- headers` writes it, a test compares it. */\n\n",
    );
    CommBlock::defines(&mut text);
    LaunchBlock::defines(&mut text);
    QueueBlock::defines(&mut text);
    StateHead::defines(&mut text);
    HandleHead::defines(&mut text);
    TotalsHead::defines(&mut text);
    StreamRecord::defines(&mut text);
    StatusHead::defines(&mut text);
    StatusWait::defines(&mut text);
    text.push_str(&format!("#define STATUS_LINE_BYTES {STATUS_LINE_BYTES}\n#define STATUS_WAITS {STATUS_WAITS}\n"));
    for (name, value) in CODES {
        text.push_str(&format!("#define CODE_{name} {value}\n"));
    }
    text
}
