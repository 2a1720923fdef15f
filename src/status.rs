//! What a kernel writes when it gives up: one line a CTA in host-mapped memory.

use std::fmt;

use crate::plan::blocks::{StatusHead, StatusWait, STATUS_LINE_BYTES, STATUS_WAITS};
use crate::plan::Op;
use crate::topology::Topology;

/// Why a CTA gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// No progress within the deadline.
    Timeout,
    /// A queue pair completed in error.
    Nic {
        /// mlx5 syndrome of the completion.
        syndrome: u32,
        /// Rank at the other end.
        peer: u32,
        /// Channel of the queue pair.
        channel: u32,
    },
    /// A slot did not carry the expected call and position.
    StaleSlot {
        /// Node or rank it came from.
        peer: u32,
        /// Call and index expected, packed high and low.
        expected: u64,
        /// What the slot said.
        seen: u64,
    },
    /// The host cancelled the call.
    Cancelled,
    /// Two launches of one operation of one communicator overlapped.
    Overlap,
    /// `topk_idx` holds an expert outside -1 to experts-1.
    Expert {
        /// Token.
        token: u32,
        /// Its choice, from 0.
        choice: u32,
        /// The value.
        expert: i64,
    },
    /// Ranks made their communicators with different plans.
    Disagree {
        /// The other rank.
        rank: u32,
        /// Own and other hash of the plan.
        expected: u64,
        /// The other's.
        seen: u64,
    },
    /// More rows arrived than the output holds.
    Overflow {
        /// Rows needed.
        need: u64,
        /// Rows there is room for.
        have: u64,
    },
    /// Some ranks gave weights to a combine and others did not.
    Weights {
        /// Whether this rank gave any.
        here: bool,
    },
    /// Another CTA or an earlier kernel of this rank gave up.
    Aborted,
    /// A number this version does not know.
    Unknown(u32),
}

/// A stage of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Counting and exchanging counts.
    Exchange,
    /// Stage 1.
    Send,
    /// Stage 2.
    Forward,
    /// Stage 3.
    Receive,
}

/// A stream that was waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Stage.
    pub stage: Stage,
    /// Channel.
    pub channel: u32,
    /// Rank waited for.
    pub peer: u32,
    /// True when only NIC completions were awaited.
    pub draining: bool,
    /// Value the word waited for had to reach.
    pub needed: u64,
    /// Value it had.
    pub seen: u64,
}

/// One CTA's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusLine {
    /// CTA number.
    pub cta: u32,
    /// Why it gave up.
    pub cause: Cause,
    /// Streams that were waiting, at most four.
    pub waits: Vec<Wait>,
}

/// What all CTAs of a launch say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReport {
    /// Rank that wrote it.
    pub rank: u32,
    /// Lines of CTAs that gave up on their own, in CTA order; those that only followed are dropped unless all did.
    pub lines: Vec<StatusLine>,
}

/// Which kernel wrote a line: it decides what a stream's kind and peer number mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The layout kernel or the exchange.
    Exchange,
    /// Dispatch or combine.
    Op(Op),
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were sliced"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were sliced"))
}

fn offset(fields: &[(&str, usize)], name: &str) -> usize {
    fields.iter().find(|(field, _)| *field == name).map(|(_, at)| *at).expect("the field is in the block's list")
}

impl StatusLine {
    /// Reads a line; `None` while its code is 0.
    ///
    /// `bytes` must be [`STATUS_LINE_BYTES`] long.
    pub fn parse(bytes: &[u8], source: Source, rank: u32, topology: Topology) -> Option<StatusLine> {
        assert_eq!(bytes.len(), STATUS_LINE_BYTES, "a status line is cut from its area by this constant");
        let head = |name: &str| offset(StatusHead::FIELDS, name);
        let code = u32_at(bytes, head("code"));
        if code == 0 {
            return None;
        }
        let detail = u32_at(bytes, head("detail"));
        let expected = u64_at(bytes, head("expected"));
        let seen = u64_at(bytes, head("seen"));
        let cause = match code {
            1 => Cause::Timeout,
            2 => Cause::Nic {
                syndrome: detail,
                peer: topology.rank(expected as u32, topology.local(rank)),
                channel: seen as u32,
            },
            3 => Cause::StaleSlot { peer: detail, expected, seen },
            4 => Cause::Cancelled,
            5 => Cause::Overlap,
            6 => Cause::Expert { token: detail, choice: expected as u32, expert: seen as i64 },
            7 => Cause::Disagree { rank: detail, expected, seen },
            8 => Cause::Overflow { need: expected, have: seen },
            9 => Cause::Aborted,
            10 => Cause::Weights { here: expected != 0 },
            other => Cause::Unknown(other),
        };
        let waits = (u32_at(bytes, head("waits_recorded")) as usize).min(STATUS_WAITS);
        let waits = (0..waits)
            .map(|index| {
                let at = StatusHead::BYTES + index * StatusWait::BYTES;
                Wait::parse(&bytes[at..at + StatusWait::BYTES], source)
            })
            .collect();
        Some(StatusLine { cta: u32_at(bytes, head("cta")), cause, waits })
    }
}

impl Wait {
    fn parse(bytes: &[u8], source: Source) -> Wait {
        let field = |name: &str| offset(StatusWait::FIELDS, name);
        let stream = u32_at(bytes, field("stream"));
        let stage = match (source, stream & 0xff) {
            (Source::Exchange, _) => Stage::Exchange,
            (_, 0) => Stage::Send,
            (_, 1) => Stage::Forward,
            _ => Stage::Receive,
        };
        Wait {
            stage,
            channel: stream >> 16,
            peer: u32_at(bytes, field("peer")),
            draining: stream & 0x100 != 0,
            needed: u64_at(bytes, field("needed")),
            seen: u64_at(bytes, field("seen")),
        }
    }
}

impl StatusReport {
    /// Rows needed and rows there is room for, when that is all that went wrong.
    pub fn overflow(&self) -> Option<(u64, u64)> {
        let room = |line: &StatusLine| match line.cause {
            Cause::Overflow { need, have } => Some((need, have)),
            _ => None,
        };
        let all: Option<Vec<(u64, u64)>> = self.lines.iter().map(room).collect();
        all?.into_iter().max()
    }

    /// Reads all lines of a launch; `None` when no CTA gave up.
    pub fn parse(area: &[u8], source: Source, rank: u32, topology: Topology) -> Option<StatusReport> {
        let lines: Vec<StatusLine> = area
            .chunks_exact(STATUS_LINE_BYTES)
            .filter_map(|line| StatusLine::parse(line, source, rank, topology))
            .collect();
        if lines.is_empty() {
            return None;
        }
        let own: Vec<StatusLine> = lines.iter().filter(|line| line.cause != Cause::Aborted).cloned().collect();
        Some(StatusReport { rank, lines: if own.is_empty() { lines } else { own } })
    }
}

/// Name of an mlx5 completion syndrome (rdma-core, `mlx5dv.h`).
fn syndrome_name(syndrome: u32) -> &'static str {
    match syndrome {
        0x01 => "local length error",
        0x02 => "local queue pair operation error",
        0x04 => "local protection error",
        0x05 => "work request flushed",
        0x06 => "memory window bind error",
        0x10 => "bad response",
        0x11 => "local access error",
        0x12 => "remote invalid request",
        0x13 => "remote access error",
        0x14 => "remote operation error",
        0x15 => "transport retry counter exceeded",
        0x16 => "receiver-not-ready retry counter exceeded",
        0x22 => "remote aborted",
        _ => "unknown syndrome",
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Timeout => write!(f, "no progress within the deadline"),
            Cause::Nic { syndrome, peer, channel } => write!(
                f,
                "NIC error {syndrome:#04x} ({}) on the queue pair to rank {peer}, channel {channel}",
                syndrome_name(*syndrome)
            ),
            Cause::StaleSlot { peer, expected, seen } => write!(
                f,
                "slot from peer {peer} is stale: expected call {} index {}, seen call {} index {}",
                expected >> 32,
                *expected as u32,
                seen >> 32,
                *seen as u32
            ),
            Cause::Cancelled => write!(f, "cancelled by the host"),
            Cause::Overlap => write!(f, "another launch of this operation was still running on this communicator"),
            Cause::Expert { token, choice, expert } => write!(f, "topk_idx[{token}][{choice}] holds expert {expert}"),
            Cause::Disagree { rank, expected, seen } => {
                write!(f, "rank {rank} uses another plan (hash {seen:#018x}, here {expected:#018x})")
            }
            Cause::Overflow { need, have } => write!(f, "{need} rows arrive, the output holds {have}"),
            Cause::Weights { here } => {
                let [own, others] = if *here { ["has", "none"] } else { ["has no", "some"] };
                write!(
                    f,
                    "this rank's combine {own} weights, and rows came with {others}: all ranks give them, or none"
                )
            }
            Cause::Aborted => write!(f, "an earlier kernel of this rank gave up"),
            Cause::Unknown(code) => write!(f, "unknown status code {code}"),
        }
    }
}

impl fmt::Display for StatusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines.iter().enumerate() {
            if index > 0 {
                write!(f, "; ")?;
            }
            write!(f, "rank {} CTA {}: {}", self.rank, line.cta, line.cause)?;
            for wait in &line.waits {
                let channel = wait.channel;
                let stage = match wait.stage {
                    Stage::Exchange => "exchange".to_string(), // its queues belong to no channel
                    Stage::Send => format!("send channel {channel}"),
                    Stage::Forward => format!("forward channel {channel}"),
                    Stage::Receive => format!("receive channel {channel}"),
                };
                let what = if wait.draining { "completions of" } else { "rank" };
                write!(f, ", {stage} waited for {what} {}: expected {}, seen {}", wait.peer, wait.needed, wait.seen)?;
            }
        }
        Ok(())
    }
}
