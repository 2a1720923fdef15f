//! A litmus test after parsing: threads, places, instructions, initial values and what is asked.

use crate::condition::{Condition, Expression, Variable};

/// Where an address is translated and cached: the path of an access to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proxy {
    /// `ld`, `st`, `atom`, `red`.
    Generic,
    /// `tld`.
    Texture,
    /// `suld`, `sust`, `suatom`, `sured`.
    Surface,
    /// `cold`.
    Constant,
    /// Bulk copies.
    Async,
}

/// Where a location is, as far as proxy fences tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Space {
    /// Global memory.
    Global,
    /// Shared memory of one thread block.
    Shared,
}

/// What a proxy fence orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyFence {
    /// Accesses by different virtual addresses to one place in memory.
    Alias,
    /// Accesses through this proxy with generic ones.
    Proxy(Proxy),
    /// Accesses through the async proxy to these spaces with generic ones.
    Async {
        /// Global memory.
        global: bool,
        /// Shared memory.
        shared: bool,
    },
    /// `mbarrier.init` with what the async proxy does to the mbarrier.
    MbarrierInit,
}

/// The threads that a strong operation includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Its thread block.
    Cta,
    /// The thread blocks of its cluster.
    Cluster,
    /// Its GPU.
    Gpu,
    /// All.
    Sys,
}

/// Where a thread runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Thread block within the GPU.
    pub cta: u32,
    /// Warp within the thread block; without one, each thread is its own.
    pub warp: Option<u32>,
    /// Cluster within the GPU; without one, each thread block is its own.
    pub cluster: Option<u32>,
    /// GPU.
    pub gpu: u32,
}

impl Place {
    /// Whether an operation of this scope by a thread here includes a thread there.
    pub fn includes(&self, scope: Scope, other: &Self) -> bool {
        let cta = self.gpu == other.gpu && self.cta == other.cta;
        match scope {
            Scope::Cta => cta,
            Scope::Cluster => cta || self.gpu == other.gpu && self.cluster.is_some() && self.cluster == other.cluster,
            Scope::Gpu => self.gpu == other.gpu,
            Scope::Sys => true,
        }
    }
}

/// What an operation orders: the qualifier of a load, store, atomic or fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// `.weak`, or no qualifier.
    Weak,
    /// `.relaxed` (and `.volatile`, `.mmio.relaxed`, at the scope of the system).
    Relaxed,
    /// `.acquire`.
    Acquire,
    /// `.release`.
    Release,
    /// `.acq_rel`.
    AcquireRelease,
    /// `.sc`; fences only.
    SequentiallyConsistent,
}

impl Order {
    /// Whether a read, or a fence before what follows it, acquires.
    pub fn acquires(self) -> bool {
        matches!(self, Self::Acquire | Self::AcquireRelease | Self::SequentiallyConsistent)
    }

    /// Whether a write, or a fence after what precedes it, releases.
    pub fn releases(self) -> bool {
        matches!(self, Self::Release | Self::AcquireRelease | Self::SequentiallyConsistent)
    }
}

/// Order, scope and proxy of a memory operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Its order.
    pub order: Order,
    /// Its scope; of no meaning where the order is weak.
    pub scope: Scope,
    /// Its proxy.
    pub proxy: Proxy,
}

/// A value that an instruction reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// Index of one of the thread's registers.
    Register(usize),
    /// Itself.
    Constant(i64),
}

/// Arithmetic of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// The second operand: `mov`, and `exch` of an atomic.
    Second,
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient toward zero; 0 where the divisor is 0.
    Div,
    /// Bits of both.
    And,
    /// Bits of either.
    Or,
    /// Bits of one.
    Xor,
    /// The lesser.
    Min,
    /// The greater.
    Max,
}

impl Binary {
    /// The result, in 64 bits that wrap.
    pub fn apply(self, a: i64, b: i64) -> i64 {
        match self {
            Self::Second => b,
            Self::Add => a.wrapping_add(b),
            Self::Sub => a.wrapping_sub(b),
            Self::Mul => a.wrapping_mul(b),
            Self::Div => a.checked_div(b).unwrap_or(0),
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
            Self::Min => a.min(b),
            Self::Max => a.max(b),
        }
    }
}

/// A comparison of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Compare {
    /// Whether it holds.
    pub fn holds(self, a: i64, b: i64) -> bool {
        match self {
            Self::Equal => a == b,
            Self::NotEqual => a != b,
            Self::Less => a < b,
            Self::LessOrEqual => a <= b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
        }
    }
}

/// What an atomic does with the value that it read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Writes `value op operand`.
    Apply(Binary, Operand),
    /// Writes `replacement` where the value equals `expected`, else nothing.
    CompareAndSwap {
        /// What the value must be.
        expected: Operand,
        /// What is written then.
        replacement: Operand,
    },
}

/// One instruction of a thread. Targets are indices of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction {
    /// `ld`, `tld`, `suld`, `cold`
    Load {
        /// Register written.
        into: usize,
        /// Location read.
        location: usize,
        /// How.
        access: Access,
    },
    /// `st`, `sust`
    Store {
        /// Location written.
        location: usize,
        /// What.
        value: Operand,
        /// How.
        access: Access,
    },
    /// `atom`, `red`, `suatom`, `sured`
    Atomic {
        /// Register that takes the old value.
        into: Option<usize>,
        /// Location read and written.
        location: usize,
        /// What is written.
        update: Update,
        /// How.
        access: Access,
    },
    /// `fence`, `membar`
    Fence {
        /// Its order.
        order: Order,
        /// Its scope.
        scope: Scope,
    },
    /// `fence.proxy`
    FenceProxy(ProxyFence),
    /// `bar.cta.sync`, `bar.cta.arrive` and `bar.warp.sync`
    Barrier {
        /// Whether it is one of the warp.
        warp: bool,
        /// Whether it waits, or only arrives.
        waits: bool,
        /// Its number.
        id: Operand,
        /// The suite's second number: barriers meet where both agree.
        resource: Option<Operand>,
        /// How many threads it takes; without, every thread that executes it.
        quorum: Option<Operand>,
    },
    /// `cp.async.bulk`
    Bulk {
        /// Location written.
        target: usize,
        /// Location read.
        source: usize,
        /// Bytes that the mbarrier counts.
        bytes: i64,
        /// The mbarrier that a load reports to; a store is one of a bulk group.
        mbarrier: Option<usize>,
    },
    /// `cp.async.bulk.commit_group`
    CommitGroup,
    /// `cp.async.bulk.wait_group`
    WaitGroup {
        /// How many of the latest groups may be under way.
        pending: usize,
        /// `.read`: waits until sources were read.
        read: bool,
    },
    /// `mbarrier.init`
    MbarrierInit {
        /// Location of the mbarrier.
        mbarrier: usize,
        /// Arrivals that a phase takes.
        count: i64,
    },
    /// `mbarrier.arrive`, `mbarrier.expect_tx` and both in one
    Arrive {
        /// Location of the mbarrier.
        mbarrier: usize,
        /// Whether it arrives, or only expects bytes.
        arrives: bool,
        /// Bytes that it adds to what the phase expects.
        expects: i64,
        /// Order and scope.
        access: Access,
    },
    /// `mbarrier.test_wait.parity` and `mbarrier.try_wait.parity`
    Wait {
        /// Register that takes 1 where the phase is complete, else 0.
        into: usize,
        /// Location of the mbarrier.
        mbarrier: usize,
        /// Parity of the phase.
        parity: i64,
        /// Order and scope.
        access: Access,
    },
    /// `mov` and arithmetic
    Compute {
        /// Register written.
        into: usize,
        /// What.
        operation: Binary,
        /// First operand.
        a: Operand,
        /// Second operand.
        b: Operand,
    },
    /// `beq` and its like
    Branch {
        /// When it is taken.
        compare: Compare,
        /// First operand.
        a: Operand,
        /// Second operand.
        b: Operand,
        /// Where it leads.
        target: usize,
    },
    /// `goto`
    Jump {
        /// Where it leads.
        target: usize,
    },
}

impl Instruction {
    /// Whether it goes to this location.
    pub fn names(&self, place: usize) -> bool {
        match *self {
            Self::Load { location, .. } | Self::Store { location, .. } | Self::Atomic { location, .. } => {
                location == place
            }
            Self::Bulk { target, source, mbarrier, .. } => {
                target == place || source == place || mbarrier == Some(place)
            }
            Self::MbarrierInit { mbarrier, .. } | Self::Arrive { mbarrier, .. } | Self::Wait { mbarrier, .. } => {
                mbarrier == place
            }
            _ => false,
        }
    }

    /// Whether it is a load, a store or an atomic.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Load { .. } | Self::Store { .. } | Self::Atomic { .. })
    }
}

/// One column of the test, or the NIC's side of a queue pair.
#[derive(Debug, Clone)]
pub struct Thread {
    /// The number in its name.
    pub id: u32,
    /// The queue that it is the NIC's side of; none for a column.
    pub queue: Option<String>,
    /// Where it runs.
    pub place: Place,
    /// Names of its registers.
    pub registers: Vec<String>,
    /// Their initial values.
    pub initial: Vec<i64>,
    /// What it executes.
    pub instructions: Vec<Instruction>,
    /// Line of each instruction in the file.
    pub lines: Vec<usize>,
}

impl Thread {
    /// `P0`, or the name of the queue.
    pub fn name(&self) -> String {
        self.queue.clone().unwrap_or_else(|| format!("P{}", self.id))
    }
}

/// A name for memory.
#[derive(Debug, Clone)]
pub struct Location {
    /// The name.
    pub name: String,
    /// Names of one virtual address have the same number.
    pub address: usize,
    /// Names of one place in memory have the same number.
    pub memory: usize,
    /// Global or shared memory.
    pub space: Space,
    /// The GPU in whose memory it is, where the test says so.
    pub gpu: Option<u32>,
}

/// What an entry of a queue asks the NIC for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// RDMA write of a local location to a remote one.
    Write {
        /// Location written.
        remote: usize,
        /// Location read.
        local: usize,
    },
    /// RDMA fetch-and-add on a remote location, with a completion.
    Add {
        /// Location changed.
        remote: usize,
        /// By how much.
        by: i64,
    },
}

/// A queue pair of a NIC: its locations and what is posted to it.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Doorbell record, doorbell and completion entry.
    pub words: [usize; 3],
    /// Where the threads that post are.
    pub poster: Option<Place>,
    /// Location of each entry, and its request.
    pub entries: Vec<(usize, Request)>,
}

/// What the author says must come out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expectation {
    /// `expect: holds` or `expect: fails`, in a comment.
    pub holds: Option<bool>,
    /// `liveness: terminates` or `liveness: stuck`, in a comment.
    pub terminates: Option<bool>,
    /// `race: some` or `race: none`, in a comment.
    pub races: Option<bool>,
}

/// A parsed test.
#[derive(Debug, Clone)]
pub struct Test {
    /// The name in its header.
    pub name: String,
    /// Its columns.
    pub threads: Vec<Thread>,
    /// Its names for memory.
    pub locations: Vec<Location>,
    /// Initial value of each place in memory.
    pub initial: Vec<i64>,
    /// Arrivals that a phase takes, where a place in memory is an mbarrier.
    pub mbarriers: Vec<Option<i64>>,
    /// Queue pairs; the NIC's side of each is one more thread.
    pub queues: Vec<Queue>,
    /// What is asked of the final states.
    pub condition: Condition,
    /// Only states for which it holds are looked at.
    pub filter: Option<Expression>,
    /// What is listed besides the variables of the condition.
    pub listed: Vec<Variable>,
    /// What the author says.
    pub expectation: Expectation,
    /// What counts as 0 without being said so, which may be a slip of the pen: locations that are not declared where
    /// others are, registers of the condition that nothing writes.
    pub assumed: Vec<String>,
}

impl Test {
    /// The variables that a state shows: those of the condition, the filter and `locations`, each once.
    pub fn observed(&self) -> Vec<Variable> {
        let mut all = Vec::new();
        self.condition.expression.variables(&mut all);
        if let Some(filter) = &self.filter {
            filter.variables(&mut all);
        }
        all.extend(self.listed.iter().copied());
        let mut once: Vec<Variable> = Vec::new();
        for variable in all {
            if !once.contains(&variable) {
                once.push(variable);
            }
        }
        once
    }

    /// Whether the filter leaves a state in; `values` are those of [`Test::observed`].
    pub fn keeps(&self, values: &[i64]) -> bool {
        self.filter.as_ref().is_none_or(|filter| self.holds(filter, values))
    }

    /// Whether a state satisfies the expression of the condition; `values` are those of [`Test::observed`].
    pub fn matches(&self, values: &[i64]) -> bool {
        self.holds(&self.condition.expression, values)
    }

    fn holds(&self, expression: &Expression, values: &[i64]) -> bool {
        let observed = self.observed();
        let value = |variable| observed.iter().position(|other| *other == variable).and_then(|at| values.get(at));
        expression.holds(&|variable| value(variable).copied().unwrap_or(0))
    }

    /// Whether it has bulk copies or mbarriers.
    pub(crate) fn is_asynchronous(&self) -> bool {
        let is = |instruction: &Instruction| {
            matches!(
                instruction,
                Instruction::Bulk { .. }
                    | Instruction::CommitGroup
                    | Instruction::WaitGroup { .. }
                    | Instruction::MbarrierInit { .. }
                    | Instruction::Arrive { .. }
                    | Instruction::Wait { .. }
            )
        };
        self.threads.iter().any(|thread| thread.instructions.iter().any(is))
    }

    /// Every instruction that goes to memory: its thread, its location, whether it writes, and how.
    pub(crate) fn accesses(&self) -> Vec<(usize, usize, bool, Access)> {
        let mut all = Vec::new();
        for (thread, of) in self.threads.iter().enumerate() {
            for instruction in &of.instructions {
                match *instruction {
                    Instruction::Load { location, access, .. } => all.push((thread, location, false, access)),
                    Instruction::Store { location, access, .. } | Instruction::Atomic { location, access, .. } => {
                        all.push((thread, location, true, access));
                    }
                    _ => {}
                }
            }
        }
        all
    }

    /// The name of a variable as the test writes it.
    pub fn variable_name(&self, variable: Variable) -> String {
        match variable {
            Variable::Register { thread, register } => {
                format!("{}:{}", self.threads[thread].name(), self.threads[thread].registers[register])
            }
            Variable::Memory { location } => self.locations[location].name.clone(),
        }
    }
}
