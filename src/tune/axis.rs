//! The axes of a tuning: what each is called, which operations it changes, and how it is searched.

use std::fmt;

use crate::plan::setting::landing_words;
use crate::plan::{Landing, Op, Roles};

/// Number of axes.
pub const AXES: usize = 11;

/// A setting that is tuned. Values are numbers: of [`Axis::Roles`] 0 stands for dynamic and 1 for fixed, of [`Axis::Landing`] 0
/// stands for staged and any other number for the rows of a landing zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Axis {
    /// CTAs of a dispatch launch.
    DispatchSms,
    /// CTAs of a combine launch.
    CombineSms,
    /// Lanes of the protocol.
    Channels,
    /// Messages of a claim between nodes.
    ChunkIb,
    /// Messages of a claim within a node.
    ChunkNv,
    /// Slots of a ring between nodes.
    DepthIb,
    /// Slots of a ring within a node.
    DepthNv,
    /// Worker warps of a CTA.
    Workers,
    /// Kinds of stream that workers claim.
    Roles,
    /// Shared memory of a worker's stages.
    StageBytes,
    /// Where rows go when they arrive.
    Landing,
}

/// How an axis is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scale {
    /// Values have an order, and time has one valley along it: steps that double, then halve.
    Ordered,
    /// Values have none: all are tried.
    Named,
}

impl Axis {
    /// All axes, in the order of a point's places.
    pub const ALL: [Axis; AXES] = [
        Axis::DispatchSms,
        Axis::CombineSms,
        Axis::Channels,
        Axis::ChunkIb,
        Axis::ChunkNv,
        Axis::DepthIb,
        Axis::DepthNv,
        Axis::Workers,
        Axis::Roles,
        Axis::StageBytes,
        Axis::Landing,
    ];

    /// Its place in a point.
    pub fn place(self) -> usize {
        self as usize
    }

    /// Name of the field of [`crate::Tuning`].
    pub fn name(self) -> &'static str {
        match self {
            Axis::DispatchSms => "dispatch_sms",
            Axis::CombineSms => "combine_sms",
            Axis::Channels => "channels",
            Axis::ChunkIb => "chunk_ib",
            Axis::ChunkNv => "chunk_nv",
            Axis::DepthIb => "depth_ib",
            Axis::DepthNv => "depth_nv",
            Axis::Workers => "workers",
            Axis::Roles => "roles",
            Axis::StageBytes => "stage_bytes",
            Axis::Landing => "landing",
        }
    }

    /// How it is searched.
    pub fn scale(self) -> Scale {
        match self {
            Axis::Roles | Axis::Landing => Scale::Named,
            _ => Scale::Ordered,
        }
    }

    /// Whether it changes the time of an operation: the SMs of one launch do not change the other, and where dispatch's rows
    /// land does not change combine.
    pub fn changes(self, op: Op) -> bool {
        match self {
            Axis::DispatchSms | Axis::Landing => op == Op::Dispatch,
            Axis::CombineSms => op == Op::Combine,
            _ => true,
        }
    }

    /// A value of this axis in words.
    pub fn words(self, value: u32) -> String {
        match (self, value) {
            (Axis::Roles, value) => roles(value).to_string(),
            (Axis::Landing, value) => landing_words(landing(value)),
            _ => value.to_string(),
        }
    }
}

/// What a value of [`Axis::Roles`] stands for.
pub(super) fn roles(value: u32) -> Roles {
    match value {
        0 => Roles::Dynamic,
        _ => Roles::Fixed,
    }
}

/// What a value of [`Axis::Landing`] stands for.
pub(super) fn landing(value: u32) -> Landing {
    match value {
        0 => Landing::Staged,
        rows => Landing::Direct { rows },
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
