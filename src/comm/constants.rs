//! Bytes of the blocks that kernels read: communicator constants and the queue table.

use crate::fabric::Queue;
use crate::mem::DevicePtr;
use crate::plan::blocks::{CommBlock, QueueBlock};
use crate::plan::{tuning, Plan};

/// Addresses that only a made communicator has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Addresses {
    pub window: DevicePtr,
    pub peers: DevicePtr,
    pub rails: DevicePtr,
    pub queues: DevicePtr,
    pub state: DevicePtr,
}

/// Constants of `rank`.
pub(super) fn comm_block(plan: &Plan, rank: u32, at: Addresses) -> CommBlock {
    let (topology, shape, tuning) = (plan.topology, &plan.shape, &plan.tuning);
    let (window, state, handle) = (&plan.window, &plan.state, &plan.handle);
    CommBlock {
        rank,
        node: topology.node(rank),
        local: topology.local(rank),
        nodes: topology.nodes(),
        gpus: topology.gpus_per_node(),
        ranks: topology.ranks(),
        channels: tuning.channels,
        experts: shape.experts(),
        experts_per_rank: shape.experts_per_rank(topology),
        topk: shape.topk(),
        expert_channels: shape.expert_channels(tuning),
        expert_align: shape.layout().expert_align(),
        mask_words: topology.mask_words(),
        max_tokens: shape.max_tokens(),
        dispatch_row_bytes: shape.dispatch_row_bytes(),
        combine_row_bytes: shape.combine_row_bytes(),
        given_row_bytes: shape.given_row_bytes(),
        scales: shape.scale_columns(),
        scale_bytes: shape.scale_bytes(),
        scales_at: shape.dispatch_scales_at(topology),
        scale_power_of_two: shape.payload().quantization().is_some_and(|how| how.is_power_of_two()).into(),
        dispatch_header_bytes: shape.dispatch_header_bytes(topology),
        dispatch_used_bytes: shape.dispatch_header_bytes(topology) + shape.dispatch_row_bytes(),
        dispatch_slot_bytes: shape.dispatch_slot_bytes(topology),
        combine_header_bytes: shape.combine_header_bytes(),
        combine_used_bytes: shape.combine_header_bytes() + shape.combine_row_bytes(),
        combine_slot_bytes: shape.combine_slot_bytes(),
        depth_ib: tuning.depth_ib,
        depth_nv: tuning.depth_nv,
        credit_ib: tuning.credit_ib(),
        box_bytes: window.box_bytes,
        rows_box_bytes: window.rows_box_bytes,
        plan_hash: plan.agreement_hash(),
        window: at.window.address(),
        peers: at.peers.address(),
        rails: at.rails.address(),
        queues: at.queues.address(),
        state: at.state.address(),
        dispatch_forward_tail: window.dispatch_forward_tail,
        dispatch_send_head: window.dispatch_send_head,
        dispatch_receive_tail: window.dispatch_receive_tail,
        dispatch_receive_head: window.dispatch_receive_head,
        combine_partial_tail: window.combine_partial_tail,
        combine_partial_head: window.combine_partial_head,
        combine_sum_tail: window.combine_sum_tail,
        combine_send_head: window.combine_send_head,
        box_stamp: window.box_stamp,
        rows_stamp: window.rows_stamp,
        box_out: window.box_out,
        box_in: window.box_in,
        rows_in: window.rows_in,
        scrap: window.scrap,
        dispatch_send_ring: window.dispatch_send_ring,
        dispatch_forward_ring: window.dispatch_forward_ring,
        dispatch_receive_ring: window.dispatch_receive_ring,
        combine_send_ring: window.combine_send_ring,
        combine_sum_ring: window.combine_sum_ring,
        combine_partial_ring: window.combine_partial_ring,
        landing_open: window.landing_open,
        landing_x: window.landing_x,
        landing_scales: window.landing_scales,
        landing_idx: window.landing_idx,
        landing_weights: window.landing_weights,
        landing_source: window.landing_source,
        dispatch_send_position: state.dispatch_send_position,
        dispatch_forward_in: state.dispatch_forward_in,
        dispatch_forward_out: state.dispatch_forward_out,
        dispatch_forward_credited: state.dispatch_forward_credited,
        dispatch_receive_position: state.dispatch_receive_position,
        combine_send_position: state.combine_send_position,
        combine_forward_in: state.combine_forward_in,
        combine_forward_out: state.combine_forward_out,
        combine_sum_in: state.combine_sum_in,
        combine_sum_credited: state.combine_sum_credited,
        posted: state.posted,
        exchange_posted: state.exchange_posted,
        dispatch_slot_requests: state.dispatch_slot_requests,
        combine_slot_requests: state.combine_slot_requests,
        load_calls: state.load.calls,
        load_sent_pairs: state.load.sent_pairs,
        load_received_pairs: state.load.received_pairs,
        load_sent_rows: state.load.sent_rows,
        load_received_rows: state.load.received_rows,
        token_masks: handle.token_masks,
        send_tokens: handle.send_tokens,
        send_messages: handle.send_messages,
        send_rows: handle.send_rows,
        expert_rows: handle.expert_rows,
        forward_messages: handle.forward_messages,
        forward_base: handle.forward_base,
        receive_rows: handle.receive_rows,
        receive_base: handle.receive_base,
        forward_masks: handle.forward_masks,
        expert_totals: handle.expert_totals,
        expert_offsets: handle.expert_offsets,
        expert_base: handle.expert_base,
        expert_next: handle.expert_next,
    }
}

/// What a queue pair is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Payload { channel: u32 },
    Credit { channel: u32 },
    Exchange,
}

/// A queue pair of a rank: its place in the tables, in the queues' memory, and its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub lane: Lane,
    /// Node at the other end.
    pub node: u32,
    /// Index in the kernels' table, `[C][N][2] + [N]`.
    pub index: u32,
    pub entries: u32,
    /// Offsets in the queues' memory.
    pub send_queue: u64,
    pub completion: u64,
    pub record: u64,
}

/// Bytes between completion entries and between doorbell records.
const PITCH_BYTES: u64 = 64;
/// Byte 63 of a completion entry that no NIC has written: opcode "invalid", owned by hardware (`mlx5dv.h`).
const COMPLETION_INVALID: u8 = 0xf1;

/// Every queue pair of the rank at `node`, in table order.
pub(super) fn queue_slots(plan: &Plan, node: u32) -> Vec<Slot> {
    let (nodes, channels) = (plan.topology.nodes(), plan.tuning.channels);
    let others = || (0..nodes).filter(move |&other| other != node);
    let mut list = Vec::new();
    for channel in 0..channels {
        for other in others() {
            let index = (channel * nodes + other) * 2;
            list.push((Lane::Payload { channel }, other, index, plan.tuning.payload_queue_entries()));
            list.push((Lane::Credit { channel }, other, index + 1, plan.tuning.credit_queue_entries()));
        }
    }
    for other in others() {
        list.push((Lane::Exchange, other, channels * nodes * 2 + other, tuning::EXCHANGE_QUEUE_ENTRIES));
    }
    let count = list.len() as u64;
    let send_queues: u64 = list.iter().map(|&(_, _, _, entries)| u64::from(entries) * PITCH_BYTES).sum();
    let mut next = 0;
    (0..)
        .zip(list)
        .map(|(place, (lane, node, index, entries))| {
            let send_queue = next;
            next += u64::from(entries) * PITCH_BYTES;
            let completion = send_queues + place * PITCH_BYTES;
            Slot { lane, node, index, entries, send_queue, completion, record: completion + count * PITCH_BYTES }
        })
        .collect()
}

/// What the queues' memory holds before a NIC looks at it.
pub(super) fn queue_memory(plan: &Plan, slots: &[Slot]) -> Vec<u8> {
    let mut bytes = vec![0; plan.queue_bytes() as usize];
    for slot in slots {
        bytes[(slot.completion + PITCH_BYTES - 1) as usize] = COMPLETION_INVALID;
    }
    bytes
}

/// What the kernels' queue table says of one queue pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connected {
    pub slot: Slot,
    pub queue: Queue,
    pub remote_window: u64,
    pub remote_key: u32,
}

/// The kernels' queue table: `[C][N][2]` (payload, credit), then `[N]` for the exchange; own node's entries are zero.
pub(super) fn queue_table(
    plan: &Plan,
    memory: DevicePtr,
    window: DevicePtr,
    local_key: u32,
    queues: &[Connected],
) -> Vec<u8> {
    let count = (plan.tuning.channels * 2 + 1) * plan.topology.nodes();
    let mut table = vec![0; count as usize * QueueBlock::BYTES];
    for entry in queues {
        let slot = &entry.slot;
        let block = QueueBlock {
            send_queue: memory.offset(slot.send_queue).address(),
            record: memory.offset(slot.record).address() + 4,
            doorbell: entry.queue.doorbell.address(),
            completion: memory.offset(slot.completion).address(),
            remote_window: entry.remote_window,
            scrap: window.offset(plan.window.scrap).address() + 8 * u64::from(slot.index),
            number: entry.queue.number,
            mask: slot.entries - 1,
            local_key,
            remote_key: entry.remote_key,
        };
        let at = slot.index as usize * QueueBlock::BYTES;
        table[at..at + QueueBlock::BYTES].copy_from_slice(&block.to_bytes());
    }
    table
}

/// A table of addresses.
pub(super) fn address_table(windows: &[DevicePtr]) -> Vec<u8> {
    windows.iter().flat_map(|window| window.address().to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fabric, Shape, Tuning};
    use crate::topology::Topology;
    use std::collections::HashSet;

    fn plan(nodes: u32, gpus: u32) -> Plan {
        let topology = Topology::new(nodes, gpus).expect("a small world");
        let shape = Shape::new(64, nodes * gpus * 2, 2, 16).expect("a small shape");
        let tuning = Tuning { channels: 3, dispatch_sms: 2, combine_sms: 2, ..Tuning::default_for(topology, 128) };
        Plan::new(topology, shape, tuning, Fabric::Mlx5).expect("a small plan")
    }

    /// Method: every queue of every world up to 5 nodes; memory and table places neither meet nor leave their range.
    #[test]
    fn queues_have_places_of_their_own() {
        for nodes in 1..=5 {
            let plan = plan(nodes, 2);
            for node in 0..nodes {
                let slots = queue_slots(&plan, node);
                assert_eq!(slots.len() as u32, (nodes - 1) * 7);
                let mut used = HashSet::new();
                let mut indices = HashSet::new();
                for slot in &slots {
                    assert!(indices.insert(slot.index) && slot.index < 7 * nodes && slot.node != node);
                    let lines = slot.send_queue / 64..slot.send_queue / 64 + u64::from(slot.entries);
                    for line in lines.chain([slot.completion / 64, slot.record / 64]) {
                        assert!(used.insert(line), "line {line} is used twice");
                        assert!(line * 64 < plan.queue_bytes());
                    }
                }
                assert_eq!(used.len() as u64 * 64, plan.queue_bytes(), "the plan counts what is used");
                let memory = queue_memory(&plan, &slots);
                assert_eq!(memory.iter().filter(|&&byte| byte == 0xf1).count(), slots.len());
            }
        }
    }

    #[test]
    fn the_queue_table_holds_the_peer_and_the_scrap_word() {
        let plan = plan(3, 1);
        let slots = queue_slots(&plan, 1);
        let queues: Vec<Connected> = slots
            .iter()
            .map(|&slot| Connected {
                slot,
                queue: Queue { number: 100 + slot.index, doorbell: DevicePtr::new(0xd000) },
                remote_window: 0x7000 + u64::from(slot.node),
                remote_key: slot.node,
            })
            .collect();
        let table = queue_table(&plan, DevicePtr::new(0x10000), DevicePtr::new(0x20000), 9, &queues);
        let word = |index: usize, at: usize| {
            let at = index * 64 + at;
            u64::from_le_bytes(table[at..at + 8].try_into().expect("eight bytes"))
        };
        // Channel 2, node 0, credit.
        let index = (2 * 3) * 2 + 1;
        assert_eq!(word(index, 32), 0x7000);
        assert_eq!(word(index, 40), 0x20000 + plan.window.scrap + 8 * index as u64);
        assert_eq!(word(index, 48) as u32, 100 + index as u32);
        // The record word is the send half.
        assert_eq!(word(index, 8) % 64, 4);
        // Own node.
        assert!(table[(3 + 1) * 2 * 64..][..128].iter().all(|&byte| byte == 0));
    }
}
