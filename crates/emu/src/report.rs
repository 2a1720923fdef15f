//! Fills a stall report from the machine's state.

use crate::machine::Machine;
use crate::mbarrier::State;
use crate::memory::SHARED_WINDOW;
use crate::park::Where;
use crate::program::Op;
use crate::stall::{StallCause, StallReport, Wait, WaitReason, WatchedWord};
use crate::stream::Command;
use crate::warp::{first, Cta, Group, GroupState, Warp};

impl Machine {
    /// Everything that waits.
    pub(crate) fn report(&self, cause: StallCause) -> StallReport {
        let mut waits = Vec::new();
        for cta in self.ctas.iter().flatten() {
            for warp in &cta.warps {
                for group in &warp.groups {
                    // A group that sleeps is already behind its instruction.
                    let asleep = matches!(group.state, GroupState::Parked | GroupState::Sleep { .. });
                    let pc = if asleep { group.pc.saturating_sub(1) } else { group.pc };
                    waits.push(Wait {
                        gpu: cta.state.shape.gpu,
                        thread: cta.state.thread(warp.index, first(group.mask)),
                        lanes: group.mask,
                        location: cta.state.location(pc),
                        reason: self.reason(cta, warp, group),
                    });
                }
            }
        }
        let mut streams = Vec::new();
        for (gpu, state) in self.gpus.iter().enumerate() {
            if !state.starting.is_empty() {
                streams.push(format!("gpu {gpu}: {} launches wait for room on an SM", state.starting.len()));
            }
            for (index, stream) in state.streams.iter().enumerate() {
                let Some(stream) = stream.as_ref().filter(|s| s.running.is_none()) else { continue };
                match (stream.queue.front(), stream.connection) {
                    (Some(Command::Wait { event, .. }), _) => {
                        streams.push(format!("gpu {gpu} stream {index} waits for event {event}"));
                    }
                    (Some(Command::Launch(_)), Some(connection)) => {
                        streams.push(format!("gpu {gpu} stream {index} waits for hardware queue {connection}"));
                    }
                    _ => {}
                }
            }
        }
        StallReport { cause, time_ns: self.time_ns(), waits, streams }
    }

    fn reason(&self, cta: &Cta, warp: &Warp, group: &Group) -> WaitReason {
        match group.state {
            GroupState::Ready => WaitReason::Running,
            GroupState::Parked => WaitReason::Words(self.words(warp)),
            GroupState::Sleep { until_ns } => WaitReason::Sleep { until_ns },
            GroupState::Bulk => WaitReason::BulkGroup,
            GroupState::Cluster => WaitReason::Cluster,
            GroupState::Converge | GroupState::WarpBarrier => {
                let program = &cta.state.shape.program;
                let members = match program.code.get(group.pc as usize).map(|inst| (&inst.op, inst.args.c)) {
                    None | Some((Op::Barrier(_), _)) => u32::MAX,
                    Some((_, column)) => warp.registers.columns[column as usize][first(group.mask) as usize] as u32,
                };
                WaitReason::Lanes { missing: members & !warp.exited & !group.mask }
            }
            GroupState::Mbarrier { offset } => {
                let state = State::decode(cta.state.shared.load(offset as usize, 8));
                let state = state.unwrap_or(State { expected: 0, pending: 0, tx_count: 0, phase: 0 });
                let State { phase, pending, tx_count, .. } = state;
                WaitReason::Mbarrier { offset, phase, pending, tx_count }
            }
            GroupState::Barrier { id, .. } => {
                let barrier = &cta.state.barriers[id as usize];
                let all = cta.state.shape.threads();
                let expected = if barrier.expected == 0 { all } else { barrier.expected };
                WaitReason::Barrier { id, arrived: barrier.threads, expected }
            }
        }
    }

    /// The words that a parked warp watches, with what is there now.
    fn words(&self, warp: &Warp) -> Vec<WatchedWord> {
        let watched = warp.interval.watched().iter();
        watched
            .map(|read| {
                let region = match read.place {
                    Where::Shared => format!("shared +{:#x}", read.address.wrapping_sub(SHARED_WINDOW)),
                    Where::Global(_) => self.memory.describe(read.address),
                };
                WatchedWord { address: read.address, bytes: read.bytes as u32, value: read.value, region }
            })
            .collect()
    }
}
