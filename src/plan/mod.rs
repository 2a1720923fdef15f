//! The pure middle of the library: topology, shape and tuning in; memory layout and launches out.
//!
//! Nothing here touches a device, a clock or a thread. One field list ([`blocks`]) ties what the host writes to
//! what the kernels read; one function a zone ([`window`], [`state`], [`handle`]) computes every offset.

pub mod agreement;
pub mod blocks;
pub mod fp8;
pub mod handle;
pub mod launch;
pub mod limits;
pub mod output;
pub mod payload;
pub mod setting;
pub mod shape;
pub mod state;
pub mod tuning;
pub mod window;

pub use agreement::{Agreement, Disagreement};
pub use fp8::{Fp8, Quantization, ScaleKind};
pub use launch::{LaunchPlan, Op};
pub use limits::Limits;
pub use output::OutputLayout;
pub use payload::{Payload, Sum};
pub use setting::Setting;
pub use shape::Shape;
pub use tuning::{Landing, Role, Roles, Tuning};

use crate::error::{Error, Result};
use crate::topology::Topology;

/// Most ranks that the kernels serve: a CTA has a stream for each.
pub const RANKS_MAX: u32 = 32 * launch::KIND_WORDS_MAX;

/// Which acts carry messages between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fabric {
    /// mlx5 queue pairs driven by the kernel itself.
    Mlx5,
    /// No NIC: every rank's window is mapped, puts are bulk stores. One NVLink domain or one GPU.
    Loopback,
}

impl Fabric {
    /// Name in kernel symbols.
    pub fn name(self) -> &'static str {
        match self {
            Fabric::Mlx5 => "mlx5",
            Fabric::Loopback => "loopback",
        }
    }
}

/// Everything that is fixed when a communicator is made, the same on every rank but for SM counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The world.
    pub topology: Topology,
    /// What is moved.
    pub shape: Shape,
    /// How it is moved.
    pub tuning: Tuning,
    /// Inter-node fabric.
    pub fabric: Fabric,
    /// Offsets of a rank's window.
    pub window: window::Window,
    /// Offsets of a rank's private state.
    pub state: state::State,
    /// Offsets of a handle.
    pub handle: handle::HandleLayout,
    /// Launch of dispatch.
    pub dispatch: LaunchPlan,
    /// Launch of combine.
    pub combine: LaunchPlan,
}

impl Plan {
    /// Validates the three inputs against each other and lays out memory and launches.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] naming the argument that does not fit and what would.
    pub fn new(topology: Topology, shape: Shape, tuning: Tuning, fabric: Fabric) -> Result<Plan> {
        shape.check(topology)?;
        tuning.check(topology)?;
        let ranks_max = RANKS_MAX;
        if topology.ranks() > ranks_max {
            let world = format!("{} x {}", topology.nodes(), topology.gpus_per_node());
            return Err(Error::argument(
                "nodes x gpus_per_node",
                world,
                format!("at most {ranks_max} ranks: a CTA serves a stream for each"),
            ));
        }
        let launches = [Op::Dispatch, Op::Combine].map(|op| LaunchPlan::new(op, topology, &shape, &tuning));
        Plan::with_launches(topology, shape, tuning, fabric, launches)
    }

    /// A plan that kernels need not be able to run: for a model of worlds that are larger than they serve. Ranks, streams of a
    /// CTA and shared memory have no bound.
    ///
    /// # Errors
    /// As [`Plan::new`] otherwise.
    pub fn sketch(topology: Topology, shape: Shape, tuning: Tuning, fabric: Fabric) -> Result<Plan> {
        shape.check(topology)?;
        tuning.check(topology)?;
        let launches = [Op::Dispatch, Op::Combine].map(|op| Ok(LaunchPlan::sketch(op, topology, &shape, &tuning)));
        Plan::with_launches(topology, shape, tuning, fabric, launches)
    }

    fn with_launches(
        topology: Topology,
        shape: Shape,
        tuning: Tuning,
        fabric: Fabric,
        launches: [Result<LaunchPlan>; 2],
    ) -> Result<Plan> {
        check_pairs(topology, &shape)?;
        let [dispatch, combine] = launches;
        let (dispatch, combine) = (dispatch?, combine?);
        let window = window::Window::new(topology, &shape, &tuning, fabric);
        let state = state::State::new(topology, &shape, &tuning);
        let handle = handle::HandleLayout::new(topology, &shape, &tuning);
        Ok(Plan { topology, shape, tuning, fabric, window, state, handle, dispatch, combine })
    }

    /// The launch of an operation.
    pub fn launch(&self, op: Op) -> &LaunchPlan {
        match op {
            Op::Dispatch => &self.dispatch,
            Op::Combine => &self.combine,
        }
    }

    /// Where dispatch's rows go when they arrive.
    pub fn landing(&self) -> Landing {
        self.tuning.landing_of(&self.shape)
    }

    /// All that ranks must agree on.
    pub fn agreement(&self) -> Agreement {
        Agreement::of(self)
    }

    /// Hash of all that ranks must agree on; it travels in the exchange boxes.
    pub fn agreement_hash(&self) -> u64 {
        self.agreement().hash()
    }

    /// Device memory of one rank in bytes: window, private state, queues and one handle.
    pub fn memory_bytes(&self) -> MemoryNeed {
        MemoryNeed {
            window_bytes: self.window.bytes,
            state_bytes: self.state.bytes,
            queue_bytes: self.queue_bytes(),
            handle_bytes: self.handle.bytes,
        }
    }

    /// Device memory that a call takes for its results when the routing is balanced: the handle, the rows that as many
    /// tokens as this rank's send here, with their scales, indices, weights and sources, by expert the places of their pairs
    /// and rows of zeros, and the combined tokens with their weights.
    pub fn output_bytes(&self) -> u64 {
        let shape = self.shape;
        let (tokens, topk) = (u64::from(shape.max_tokens()), u64::from(shape.topk()));
        let tokens_here = tokens * topk.min(u64::from(self.topology.ranks()));
        let (rows, choices, places) = match shape.layout() {
            OutputLayout::Rows => (tokens_here, topk, 0),
            OutputLayout::Experts { align } => {
                let zeros = u64::from(shape.experts_per_rank(self.topology)) * u64::from(align - 1);
                (tokens * topk + zeros, 1, 4 * topk * tokens_here)
            }
        };
        let scales = u64::from(shape.scale_columns() * shape.scale_bytes());
        let (there, back) = (u64::from(shape.dispatch_row_bytes()), u64::from(shape.combine_row_bytes()));
        self.handle.bytes + rows * (there + scales + 8 * choices + 8) + places + tokens * (back + 4 * topk)
    }

    /// Bytes of send queues, completion entries and doorbell records of one rank.
    pub fn queue_bytes(&self) -> u64 {
        queue_bytes(self.topology, &self.tuning, self.fabric)
    }
}

fn queue_bytes(topology: Topology, tuning: &Tuning, fabric: Fabric) -> u64 {
    match fabric {
        Fabric::Loopback => 0,
        Fabric::Mlx5 => {
            let (peers, channels) = (u64::from(topology.nodes() - 1), u64::from(tuning.channels));
            let per_channel = u64::from(tuning.payload_queue_entries() + tuning.credit_queue_entries());
            let exchange = u64::from(tuning::EXCHANGE_QUEUE_ENTRIES);
            let queues = peers * (2 * channels + 1);
            64 * peers * (channels * per_channel + exchange) + queues * (64 + 64)
        }
    }
}

/// Kernels number rows and (token, choice) pairs in 31 bits.
fn check_pairs(topology: Topology, shape: &Shape) -> Result<()> {
    let zeros = u64::from(shape.experts_per_rank(topology)) * u64::from(shape.layout().expert_align());
    let room = (1_u64 << 31).saturating_sub(zeros + 1);
    let most = room / (u64::from(topology.ranks()) * u64::from(shape.topk()));
    if u64::from(shape.max_tokens()) <= most {
        return Ok(());
    }
    let (ranks, topk) = (topology.ranks(), shape.topk());
    let valid = format!("at most {most}: {ranks} ranks with top-{topk} could send 2^31 pairs to one of them");
    Err(Error::argument("max_tokens", shape.max_tokens(), valid))
}

/// Device memory that one rank needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Rings, counters and boxes that peers write.
    pub window_bytes: u64,
    /// Counters and tables that only this rank touches.
    pub state_bytes: u64,
    /// NIC queues.
    pub queue_bytes: u64,
    /// One routing handle; as many as calls are alive at once.
    pub handle_bytes: u64,
}

impl MemoryNeed {
    /// Of a plan that has these parts, whether its launches fit a GPU or not.
    pub(crate) fn of(topology: Topology, shape: &Shape, tuning: &Tuning, fabric: Fabric) -> MemoryNeed {
        MemoryNeed {
            window_bytes: window::Window::new(topology, shape, tuning, fabric).bytes,
            state_bytes: state::State::new(topology, shape, tuning).bytes,
            queue_bytes: queue_bytes(topology, tuning, fabric),
            handle_bytes: handle::HandleLayout::new(topology, shape, tuning).bytes,
        }
    }

    /// All together.
    pub fn bytes(&self) -> u64 {
        self.window_bytes + self.state_bytes + self.queue_bytes + self.handle_bytes
    }
}

impl std::fmt::Display for MemoryNeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
        write!(
            f,
            "per rank: window {:.2} MiB, state {:.2} MiB, queues {:.2} MiB, each handle {:.2} MiB",
            mib(self.window_bytes),
            mib(self.state_bytes),
            mib(self.queue_bytes),
            mib(self.handle_bytes)
        )
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (t, s, u) = (self.topology, &self.shape, &self.tuning);
        writeln!(f, "world    {} nodes x {} GPUs, fabric {}", t.nodes(), t.gpus_per_node(), self.fabric.name())?;
        writeln!(
            f,
            "shape    hidden {}, rows of {} there ({} bytes) and {} back ({} bytes), {} experts, top-{}, at most {} tokens \
             a rank; rows {}",
            s.hidden(),
            s.payload(),
            s.dispatch_row_bytes(),
            s.sum(),
            s.combine_row_bytes(),
            s.experts(),
            s.topk(),
            s.max_tokens(),
            s.layout()
        )?;
        writeln!(
            f,
            "rings    {} channels, depth {} between nodes and {} within, slots of {} (dispatch) and {} bytes (combine)",
            u.channels,
            u.depth_ib,
            u.depth_nv,
            s.dispatch_slot_bytes(t),
            s.combine_slot_bytes()
        )?;
        writeln!(f, "memory   {}", self.memory_bytes())?;
        match (u.landing, self.landing()) {
            (Landing::Direct { .. }, Landing::Staged) => {
                writeln!(f, "landing  staged: rows {} do not land by themselves", s.layout())?;
            }
            (_, landing) => writeln!(f, "landing  {landing}")?,
        }
        writeln!(f, "dispatch {}", self.dispatch)?;
        write!(f, "combine  {}", self.combine)
    }
}
