//! How it is moved: channels, SMs, chunks, ring depths, workers, roles.

use std::fmt;
use std::str::FromStr;

use super::output::OutputLayout;
use super::shape::Shape;
use super::RANKS_MAX;
use crate::error::{Error, Result};
use crate::topology::Topology;

/// Most messages of a claim: one lane of a warp looks after each.
pub const MAX_CHUNK: u32 = 32;
/// Channels that keep the links of two nodes of 8 GPUs busy, by the model; many more crowd each other.
const CHANNELS_BUSY: u32 = 48;
/// SMs of a launch unless told otherwise.
pub const SMS_DEFAULT: u32 = 8;
/// Most worker warps of a CTA: 15 and a scout are 512 threads, which leaves each thread 128 registers.
pub const MAX_WORKERS: u32 = 15;
/// Entries of an exchange queue: two a call, both completed before the kernel ends.
pub const EXCHANGE_QUEUE_ENTRIES: u32 = 16;

/// Most channels, whatever the world.
const CHANNELS_MAX: u32 = 256;

/// Most shared memory of a worker's stages.
pub const STAGE_BYTES_MAX: u32 = 16384;

/// Most payload and credit queue pairs of a NIC: with many more it no longer holds their state.
const QUEUE_PAIRS_MAX: u32 = 1000;

/// Most channels of a world: each has two queue pairs to every other node. Worlds that the kernels do not serve are modelled
/// only ([`Plan::sketch`](super::Plan::sketch)), and a model shows what queue pairs cost.
pub(crate) fn channels_max(topology: Topology) -> u32 {
    if topology.ranks() > RANKS_MAX {
        return u32::MAX;
    }
    match topology.nodes() - 1 {
        0 => u32::MAX,
        others => QUEUE_PAIRS_MAX / (2 * others),
    }
}

/// The three kinds of stream a warp may claim, by stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Dispatch: IB sending. Combine: NVLink sending.
    Send,
    /// Dispatch: IB-to-NVLink forwarding. Combine: NVLink-to-IB forwarding and accumulation.
    Forward,
    /// Dispatch: NVLink receiving. Combine: IB receiving and accumulation.
    Receive,
}

/// Which kinds of stream each worker warp may claim, and in what order it looks for them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Roles {
    /// Every kind for all warps. They look in two orders by turns: what begins a token's way first (send, forward,
    /// receive), and what ends it first (receive, send, forward). With one order alone, messages pile up at one end of
    /// the way while everybody is at the other.
    Dynamic,
    /// Disjoint sets: warps are dealt to the three kinds in turn (fixed specialization). Needs 3 workers.
    Fixed,
    /// One list a worker.
    Custom(Vec<Vec<Role>>),
}

impl Role {
    fn letter(self) -> char {
        match self {
            Role::Send => 's',
            Role::Forward => 'f',
            Role::Receive => 'r',
        }
    }

    fn of_letter(letter: char) -> std::result::Result<Role, String> {
        match letter {
            's' => Ok(Role::Send),
            'f' => Ok(Role::Forward),
            'r' => Ok(Role::Receive),
            other => Err(format!("`{other}` is no role: valid are s, f and r, or the words dynamic and fixed")),
        }
    }
}

impl FromStr for Roles {
    type Err = String;

    /// `dynamic`, `fixed`, or a list of s(end), f(orward), r(eceive) for each worker: `rfs,srf,f`.
    fn from_str(text: &str) -> std::result::Result<Roles, String> {
        let worker = |kinds: &str| kinds.chars().map(Role::of_letter).collect();
        Ok(match text {
            "dynamic" => Roles::Dynamic,
            "fixed" => Roles::Fixed,
            list => Roles::Custom(list.split(',').map(worker).collect::<std::result::Result<_, _>>()?),
        })
    }
}

impl fmt::Display for Roles {
    /// As [`FromStr`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Roles::Dynamic => f.write_str("dynamic"),
            Roles::Fixed => f.write_str("fixed"),
            Roles::Custom(list) => {
                let worker = |kinds: &Vec<Role>| kinds.iter().map(|role| role.letter()).collect::<String>();
                f.write_str(&list.iter().map(worker).collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// Rows of a landing zone that are given out together, so that each array of them begins at a multiple of 16 bytes.
pub const LANDING_GRANULE: u32 = 16;
/// Most rows of a landing zone: with it a window still has offsets of a sensible size.
const LANDING_ROWS_MAX: u32 = 1 << 24;

/// Where dispatch's rows go when they come to their rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Landing {
    /// Into a ring, from which the receiving warps move them to the outputs: outputs may lie anywhere, and little memory
    /// is kept.
    #[default]
    Staged,
    /// Straight to their places: the warp that forwards a row writes it, its indices, weights and scales into the outputs of
    /// the destination, which lie in a part of its window kept for that. The receiving warps move nothing.
    ///
    /// Constraint: rows by source ([`OutputLayout::Rows`]): a row by expert would cross NVLink once for each expert, staged it
    /// crosses once for each rank. Fallback: by expert the plan is a staged one; and a dispatch whose rows find no room
    /// in the zone, which earlier outputs share while they live, goes through the rings.
    Direct {
        /// Rows of the zone, on every rank: a multiple of 16.
        rows: u32,
    },
}

impl Landing {
    /// Direct, with room for the rows that come to a rank when the routing is balanced, and half as many again.
    pub fn direct_for(topology: Topology, shape: &Shape) -> Landing {
        let balanced = u64::from(shape.max_tokens()) * u64::from(shape.topk().min(topology.ranks()));
        let rows = (balanced + balanced / 2).next_multiple_of(u64::from(LANDING_GRANULE));
        Landing::Direct { rows: u32::try_from(rows).unwrap_or(LANDING_ROWS_MAX).min(LANDING_ROWS_MAX) }
    }

    /// With room for `outputs` outputs at once: those of micro-batches that are alive beside each other.
    #[must_use]
    pub fn times(self, outputs: u32) -> Landing {
        match self {
            Landing::Staged => Landing::Staged,
            Landing::Direct { rows } => Landing::Direct { rows: rows.saturating_mul(outputs).min(LANDING_ROWS_MAX) },
        }
    }

    /// Rows of the zone; 0 for none.
    pub fn rows(self) -> u32 {
        match self {
            Landing::Staged => 0,
            Landing::Direct { rows } => rows,
        }
    }
}

impl fmt::Display for Landing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Landing::Staged => f.write_str("staged"),
            Landing::Direct { rows } => write!(f, "direct, in a zone of {rows} rows"),
        }
    }
}

/// Settings of the transport. [`Tuning::default_for`] gives the documented defaults.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tuning {
    /// Independent lanes of the protocol; the same on every rank.
    pub channels: u32,
    /// CTAs of a dispatch launch (one an SM); may differ by rank.
    pub dispatch_sms: u32,
    /// CTAs of a combine launch; may differ by rank.
    pub combine_sms: u32,
    /// Messages a claim of a flow between nodes moves at most.
    pub chunk_ib: u32,
    /// Messages a claim of a flow within a node moves at most.
    pub chunk_nv: u32,
    /// Slots of a ring between nodes; a power of two; the same on every rank.
    pub depth_ib: u32,
    /// Slots of a ring within a node; a power of two; the same on every rank.
    pub depth_nv: u32,
    /// Worker warps of a CTA, beside its scout.
    pub workers: u32,
    /// Kinds of stream each worker claims.
    pub roles: Roles,
    /// Shared memory of a worker's stages in bytes: a multiple of 1,024 from 2,048 to 16,384.
    pub stage_bytes: u32,
    /// Where dispatch's rows go when they arrive; the same on every rank.
    pub landing: Landing,
}

impl Tuning {
    /// Defaults by world: 32 channels, 16 from 4 nodes on and 8 from 256 ranks on (the narrowest stream is one worker a
    /// channel), fewer where a NIC's queue pairs would not reach; 8 SMs; chunks of about 64 KB between nodes and 32 KB
    /// within; rings of 16 slots between nodes (8 from 256 ranks on) and 8 within (4 from 64 ranks on), so that windows
    /// stay below half a gigabyte.
    pub fn default_for(topology: Topology, hidden_bytes: u32) -> Tuning {
        let ranks = topology.ranks();
        let channels = match (topology.nodes(), ranks) {
            (_, 256..) => 8,
            (4.., _) => 16,
            _ => 32,
        };
        let channels = channels.min(channels_max(topology));
        let depth_ib = if ranks >= 256 { 8 } else { 16 };
        let depth_nv = if ranks >= 64 { 4 } else { 8 };
        let chunk = |bytes: u32, depth: u32| (bytes / hidden_bytes.max(1)).clamp(1, (depth / 2).min(MAX_CHUNK));
        Tuning {
            channels,
            dispatch_sms: channels.min(SMS_DEFAULT),
            combine_sms: channels.min(SMS_DEFAULT),
            chunk_ib: chunk(64 << 10, depth_ib),
            chunk_nv: chunk(32 << 10, depth_nv),
            depth_ib,
            depth_nv,
            workers: 11,
            roles: Roles::Dynamic,
            stage_bytes: 16 << 10,
            landing: Landing::Staged,
        }
    }

    /// With so many SMs for both operations, and channels to go with them: two for each SM at least (three with 16), the same number for
    /// each, as far as the NICs' queue pairs reach. An SM with one channel waits for whatever that channel waits for.
    ///
    /// With more than [`SMS_DEFAULT`] SMs claims within a node and between nodes are shorter, and rings within a node as deep as
    /// two of them: links are busy anyway, so what counts is that rows which are summed together come together
    /// (`docs/model.md` has figures).
    #[must_use]
    pub fn with_sms(mut self, topology: Topology, sms: u32) -> Tuning {
        let most = channels_max(topology).clamp(1, CHANNELS_MAX);
        let busy = if sms > SMS_DEFAULT { CHANNELS_BUSY / sms } else { 0 };
        let of_sm = self.channels.div_ceil(sms.max(1)).max(2).max(busy).min(most / sms.max(1)).max(1);
        (self.dispatch_sms, self.combine_sms) = (sms, sms);
        self.channels = sms.saturating_mul(of_sm).clamp(1, most);
        if sms > SMS_DEFAULT {
            let shorter = |chunk: u32| (chunk * SMS_DEFAULT / sms).max(1);
            (self.chunk_ib, self.chunk_nv) = (shorter(self.chunk_ib), shorter(self.chunk_nv));
            self.depth_nv = self.depth_nv.min((2 * self.chunk_nv).next_power_of_two());
        }
        self
    }

    /// Where rows of `shape` land: [`Tuning::landing`], or staged where they are ordered by expert.
    pub fn landing_of(&self, shape: &Shape) -> Landing {
        match shape.layout() {
            OutputLayout::Rows => self.landing,
            OutputLayout::Experts { .. } => Landing::Staged,
        }
    }

    /// Slots after which a consumer of a ring between nodes gives credit back.
    pub fn credit_ib(&self) -> u32 {
        (self.depth_ib / 4).max(1)
    }

    /// Entries (64-byte blocks) of a payload queue: at most two writes and a signal for each slot of the ring.
    pub fn payload_queue_entries(&self) -> u32 {
        (3 * self.depth_ib + 4).next_power_of_two()
    }

    /// Entries (64-byte blocks) of a credit queue: the credit of two rings. One ring's may be on its way to the sender while
    /// completions of the ring before are late; when more are, kernels wait for room.
    pub fn credit_queue_entries(&self) -> u32 {
        2 * self.depth_ib / self.credit_ib()
    }

    /// Roles of every worker, in order.
    pub fn worker_roles(&self) -> Vec<Vec<Role>> {
        use Role::{Forward, Receive, Send};
        match &self.roles {
            Roles::Custom(list) => list.clone(),
            Roles::Fixed => (0..self.workers).map(|w| vec![[Receive, Forward, Send][w as usize % 3]]).collect(),
            Roles::Dynamic => {
                let orders = [vec![Send, Forward, Receive], vec![Receive, Send, Forward]];
                orders.into_iter().cycle().take(self.workers as usize).collect()
            }
        }
    }

    /// Checks every setting and their relations.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the setting, its value and what is valid.
    pub fn check(&self, topology: Topology) -> Result<()> {
        let range = |name: &str, value: u32, low: u32, high: u32| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(Error::argument(name, value, format!("{low} to {high}")))
            }
        };
        range("channels", self.channels, 1, CHANNELS_MAX)?;
        range("dispatch_sms", self.dispatch_sms, 1, self.channels)?;
        range("combine_sms", self.combine_sms, 1, self.channels)?;
        range("workers", self.workers, 1, MAX_WORKERS)?;
        for (name, depth) in [("depth_ib", self.depth_ib), ("depth_nv", self.depth_nv)] {
            if !depth.is_power_of_two() || !(2..=1024).contains(&depth) {
                return Err(Error::argument(name, depth, "a power of two from 2 to 1024"));
            }
        }
        range("chunk_ib", self.chunk_ib, 1, MAX_CHUNK.min(self.depth_ib / 2))?;
        range("chunk_nv", self.chunk_nv, 1, MAX_CHUNK.min(self.depth_nv / 2))?;
        if !self.stage_bytes.is_multiple_of(1024) || !(2048..=STAGE_BYTES_MAX).contains(&self.stage_bytes) {
            return Err(Error::argument("stage_bytes", self.stage_bytes, "a multiple of 1024 from 2048 to 16384"));
        }
        if let Landing::Direct { rows } = self.landing {
            if rows == 0 || rows > LANDING_ROWS_MAX || !rows.is_multiple_of(LANDING_GRANULE) {
                let valid = format!("a multiple of {LANDING_GRANULE} rows, {LANDING_GRANULE} to {LANDING_ROWS_MAX}");
                return Err(Error::argument("landing", rows, valid));
            }
        }
        if self.channels > channels_max(topology) {
            return Err(Error::argument(
                "channels",
                self.channels,
                format!(
                    "at most {} with {} nodes ({QUEUE_PAIRS_MAX} queue pairs a NIC)",
                    channels_max(topology),
                    topology.nodes()
                ),
            ));
        }
        self.check_roles()
    }

    fn check_roles(&self) -> Result<()> {
        if let Roles::Custom(list) = &self.roles {
            if list.len() != self.workers as usize {
                return Err(Error::argument(
                    "roles",
                    format!("{} lists", list.len()),
                    format!("one list for each of {} workers", self.workers),
                ));
            }
            if let Some(worker) = list.iter().position(|kinds| kinds.is_empty() || kinds.len() > 3) {
                return Err(Error::argument(
                    "roles",
                    format!("worker {worker} has {} kinds", list[worker].len()),
                    "1 to 3 kinds a worker",
                ));
            }
        }
        for role in [Role::Send, Role::Forward, Role::Receive] {
            if !self.worker_roles().iter().any(|kinds| kinds.contains(&role)) {
                return Err(Error::argument(
                    "roles",
                    format!("{:?} over {} workers", self.roles, self.workers),
                    format!("at least one worker for every kind; none has {role:?}"),
                ));
            }
        }
        Ok(())
    }
}
