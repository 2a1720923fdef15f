//! Decoded code of an entry: what the interpreter runs.
//!
//! A value register is a column of 32 lanes; constants and special registers are columns too, so that every source
//! operand is a plain column number. A predicate register is a bit mask of lanes. Functions that an entry calls are
//! linked into its code with registers of their own; who calls a function that may come back to it saves its own.

use crate::error::Location;
use crate::isa::Dynamic;
use crate::launch::EntryInfo;
use crate::video::Video;

/// One register of a warp: a value per lane, zero-extended from the register's width.
pub(crate) type Column = [u64; 32];

/// All lanes.
pub(crate) const FULL: u32 = u32::MAX;

/// Predicate number that means "no guard".
pub(crate) const NO_GUARD: u16 = u16::MAX;

/// The condition code of `add.cc` and its kind.
pub(crate) const CARRY: u16 = 0;

/// The registers of one warp.
#[derive(Debug, Default)]
pub(crate) struct Registers {
    pub columns: Vec<Column>,
    pub predicates: Vec<u32>,
}

/// Operands of a pure instruction: columns or predicates, as the function takes them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Args {
    pub d: u16,
    pub a: u16,
    pub b: u16,
    pub c: u16,
    pub e: u16,
    pub imm: u32,
}

/// An instruction that only maps registers to registers, lane by lane.
pub(crate) type Pure = fn(&mut Registers, u32, &Args);

/// A decoded instruction.
#[derive(Debug, Clone)]
pub(crate) struct Inst {
    pub op: Op,
    pub args: Args,
    /// Predicate that guards it, or [`NO_GUARD`].
    pub guard: u16,
    pub negated: bool,
}

/// What an instruction does.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Pure(Pure),
    /// A special register that changes while the kernel runs, into `d`.
    Dynamic(Dynamic),
    Nop,
    Branch {
        target: u32,
    },
    /// `brx.idx` with the index in `a`.
    BranchIndex(Box<[u32]>),
    /// Leaves the return address in column `d`.
    Call {
        target: u32,
    },
    /// To the address in column `a`.
    Return,
    /// Registers of a function that may be entered again, onto a stack and back.
    Save(Box<SaveSet>),
    Restore(Box<SaveSet>),
    Exit,
    Trap,
    /// A call of a function of the driver.
    Runtime(Box<str>),
    Load(Box<Access>),
    Store(Box<Access>),
    /// Copies `imm` bytes of local memory from frame offset `a` to frame offset `b`.
    CopyFrame,
    /// A kernel parameter; `base` holds the offset.
    LoadParam(Box<Access>),
    /// `cp.async`: the address in global memory is `a` plus `imm`.
    AsyncCopy(Box<AsyncCopy>),
    /// `cp.async.commit_group`: nothing to do, but for the race check, as the next one.
    CopyCommit,
    /// `cp.async.wait_group`, and `wait_all` with nothing.
    CopyWait(Option<u32>),
    Atomic(Box<Atomic>),
    Fence {
        order: Order,
        scope: Scope,
    },
    /// `fence.proxy.*`, `fence.mbarrier_init`: nothing to do in a consistent memory, but for the race check.
    ProxyFence(ProxyFence),
    /// Lane exchange of the member mask in `c`.
    Shuffle(Shuffle),
    Vote(Vote),
    Match {
        bytes: u8,
        all: bool,
    },
    Redux(Redux),
    Elect,
    /// Matrices of 8 x 8 elements of 16 bits, between shared memory and the lanes of a warp, or within it.
    Matrix(Box<Matrix>),
    /// Registers `a`, `b`, `c` and `d`.
    Video(Box<Video>),
    WarpBarrier,
    Barrier(Box<Barrier>),
    Mbarrier(Box<Mbarrier>),
    Bulk(Box<Bulk>),
    BulkCommit,
    StoreAsync(Box<StoreAsync>),
    ClusterArrive {
        releases: bool,
    },
    ClusterWait,
    BulkWait {
        /// Groups that may still be pending.
        pending: u32,
        /// Only the reads of the sources.
        read: bool,
    },
    /// Duration in `a`.
    Nanosleep,
}

/// Registers of a function.
#[derive(Debug, Clone, Default)]
pub(crate) struct SaveSet {
    pub columns: Vec<u16>,
    pub predicates: Vec<u16>,
}

/// Memory orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Weak,
    Volatile,
    Relaxed,
    Acquire,
    Release,
    AcqRel,
    Sc,
}

/// What a proxy fence is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyFence {
    Alias,
    /// Generic accesses and those of the async proxy, to these kinds of memory.
    Async {
        global: bool,
        shared: bool,
    },
    /// `fence.mbarrier_init`.
    MbarrierInit,
}

/// Scopes, from narrow to wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Cta,
    Cluster,
    Gpu,
    Sys,
}

/// State spaces of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessSpace {
    Global,
    Shared,
    Local,
    Generic,
}

/// `ld` and `st`.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub space: AccessSpace,
    pub order: Order,
    pub scope: Scope,
    pub mmio: bool,
    /// `.nc`.
    pub constant: bool,
    /// Bytes of an element.
    pub size: u8,
    /// Elements.
    pub count: u8,
    /// Register of each element.
    pub columns: [u16; 8],
    /// Sign extension from the element to the register's width: the register's mask, or 0 for none.
    pub extend: u64,
    pub base: u16,
    pub offset: i64,
}

impl Op {
    /// Whether it sees what other agents do, and whether they see it.
    pub fn touches(&self) -> (bool, bool) {
        let shared = |space: AccessSpace| space != AccessSpace::Local;
        match self {
            Op::Load(access) => (shared(access.space), false),
            Op::Store(access) => (false, shared(access.space)),
            Op::Fence { order, .. } => (*order == Order::Sc, *order == Order::Sc),
            Op::Atomic(_)
            | Op::Barrier(_)
            | Op::Mbarrier(_)
            | Op::WarpBarrier
            | Op::AsyncCopy(_)
            | Op::ClusterArrive { .. }
            | Op::ClusterWait
            | Op::Matrix(_)
            | Op::StoreAsync(_) => (true, true),
            Op::Bulk(_) => (false, true),
            Op::BulkWait { .. } | Op::Nanosleep => (true, false),
            _ => (false, false),
        }
    }
}

/// Atomic operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomicKind {
    And,
    Or,
    Xor,
    Exchange,
    CompareSwap,
    Add,
    Inc,
    Dec,
    MinSigned,
    MaxSigned,
    MinUnsigned,
    MaxUnsigned,
    AddF32,
    AddF64,
    AddF16x2,
    AddBf16x2,
    AddF16,
    AddBf16,
    MinF16,
    MinBf16,
    MaxF16,
    MaxBf16,
    MinF16x2,
    MinBf16x2,
    MaxF16x2,
    MaxBf16x2,
}

/// `atom` and `red`: operands in columns `a` and `b`, old value into `d`. Of 16 bytes each is two columns.
#[derive(Debug, Clone)]
pub(crate) struct Atomic {
    pub space: AccessSpace,
    pub order: Order,
    pub scope: Scope,
    pub kind: AtomicKind,
    pub size: u8,
    /// Alignment of the whole access: of the first element of a vector more than its size.
    pub align: u8,
    /// `atom` rather than `red`.
    pub returns: bool,
    pub base: u16,
    pub offset: i64,
}

/// `shfl.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// `vote.sync`. `imm` 1 negates the source predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// `redux.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redux {
    Add,
    MinSigned,
    MaxSigned,
    MinUnsigned,
    MaxUnsigned,
    And,
    Or,
    Xor,
}

/// What a named barrier does beside waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarrierKind {
    Sync,
    Arrive,
    /// Count of true predicates into column `d`.
    Popc,
    /// Conjunction into predicate `d`.
    And,
    /// Disjunction into predicate `d`.
    Or,
}

/// `bar` and `barrier`. The predicate of a reduction is `c`, negated when `imm` is 1.
#[derive(Debug, Clone)]
pub(crate) struct Barrier {
    pub kind: BarrierKind,
    pub aligned: bool,
    /// Column of the barrier's number.
    pub id: u16,
    /// Column of the thread count; `None` for all threads.
    pub threads: Option<u16>,
}

/// `ldmatrix`, `stmatrix`, `movmatrix` and integer `mma`.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    pub kind: MatrixKind,
    /// Matrices.
    pub count: u8,
    pub transposed: bool,
    /// The address is generic.
    pub generic: bool,
    pub base: u16,
    pub offset: i64,
    /// Registers of each lane: results, then operands.
    pub columns: [u16; 16],
}

/// What is done with matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatrixKind {
    Load,
    Store,
    Move,
    /// `mma` with results in four registers, then `a` in `count` registers, `b` in half as many, `c` in four.
    Multiply(Elements),
}

/// What the matrices of an `mma` hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elements {
    F16,
    Bf16,
    Tf32,
    /// As `F16`, with sums in f16 too.
    HalfSums,
    Integers(Integers),
}

/// Integers in the matrices of an `mma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Integers {
    /// Of an element: 8, 4 or 1.
    pub bits: u8,
    /// Whether those of `a` and of `b` are signed.
    pub signed: [bool; 2],
    /// Sums are clamped rather than cut.
    pub saturate: bool,
    /// Of single bits: those that differ are counted, not those that both have.
    pub differs: bool,
}

/// `cp.async`: `size` bytes of shared memory, of which the first come from global memory and the others are zeros.
#[derive(Debug, Clone)]
pub(crate) struct AsyncCopy {
    pub size: u8,
    pub target: u16,
    pub target_offset: i64,
    pub source: u16,
    pub source_offset: i64,
    pub count: CopyCount,
}

/// `st.async` and `red.async`: to shared memory of the cluster, reported to an mbarrier there.
#[derive(Debug, Clone)]
pub(crate) struct StoreAsync {
    /// Size, count and registers of the elements; the address.
    pub access: Access,
    /// Operation of a reduction.
    pub reduce: Option<AtomicKind>,
    pub mbarrier: u16,
    pub mbarrier_offset: i64,
}

/// How many bytes a `cp.async` reads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CopyCount {
    All,
    /// As many as a column says.
    Column(u16),
    /// None where this predicate (negated or not) holds.
    Unless(u16, bool),
}

/// `mbarrier.*`. The address is `base + offset`.
#[derive(Debug, Clone)]
pub(crate) struct Mbarrier {
    pub kind: MbarrierKind,
    pub generic: bool,
    pub base: u16,
    pub offset: i64,
    pub order: Order,
    pub scope: Scope,
    /// `cp.async.mbarrier.arrive`: the arrival of the lane's copies.
    pub copies: bool,
}

/// What an `mbarrier` instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MbarrierKind {
    /// Count in `a`.
    Init,
    Inval,
    /// Count in `a`, bytes in `b`, both columns; state into `d`.
    Arrive {
        expect: bool,
        drop: bool,
        no_complete: bool,
    },
    /// Bytes in `a`.
    ExpectTx,
    /// Bytes in `a`.
    CompleteTx,
    /// State or parity in `a`, result into predicate `d`.
    Wait {
        parity: bool,
        suspends: bool,
    },
    /// State in `a`, into column `d`.
    PendingCount,
}

/// `cp.async.bulk`: size in column `a`.
#[derive(Debug, Clone)]
pub(crate) struct Bulk {
    pub to_shared: bool,
    /// The source is shared memory too.
    pub from_shared: bool,
    /// Column of the mask of CTAs that a copy goes to.
    pub ctas: Option<u16>,
    /// Operation and element size of a reduction.
    pub reduce: Option<(AtomicKind, u8)>,
    pub target: u16,
    pub target_offset: i64,
    pub source: u16,
    pub source_offset: i64,
    /// Address of the mbarrier, for copies into shared memory.
    pub mbarrier: u16,
    pub mbarrier_offset: i64,
}

/// How a column starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ColumnStart {
    /// A register of so many bytes: undefined.
    Garbage(u8),
    Constant(u64),
    /// Like a constant, but written later.
    Initial(u64),
    Special(Special),
    /// Generic address of a module variable, plus an offset.
    Variable(u32, i64),
    /// Generic address of the kernel's parameters.
    Parameters,
}

/// Special registers that do not change while a warp lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    ClusterId(u8),
    ClusterCount(u8),
    /// Place of the CTA in its cluster.
    ClusterCta(u8),
    ClusterCtas(u8),
    ClusterRank,
    ClusterSize,
    LaneId,
    WarpId,
    WarpCount,
    SmId,
    SmCount,
    GridId,
    LaneMask(LaneMask),
    DynamicSharedBytes,
    TotalSharedBytes,
    /// With the part that is the system's.
    AggregateSharedBytes,
    /// 1 when the kernel was launched in clusters.
    ExplicitCluster,
}

/// The `%lanemask_*` registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LaneMask {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// An entry with everything it calls.
#[derive(Debug)]
pub(crate) struct Program {
    pub name: String,
    pub code: Vec<Inst>,
    /// For each instruction, whether loads before it must be there: see `time::first_uses`.
    pub uses_loads: Vec<bool>,
    /// For each instruction, index into `locations`.
    pub source: Vec<u32>,
    pub locations: Vec<Location>,
    pub starts: Vec<ColumnStart>,
    pub predicates: usize,
    /// A predicate that is true in every lane, when one is needed.
    pub true_predicate: Option<u16>,
    /// Static shared memory; the dynamic part begins here.
    pub shared_bytes: u32,
    /// Local memory of a thread.
    pub frame_bytes: u32,
    /// The parameters need a generic address.
    pub takes_parameters: bool,
    pub info: EntryInfo,
    /// `.reqntid`.
    pub required_threads: Option<[u32; 3]>,
    /// `.reqnctapercluster`.
    pub required_cluster: Option<[u32; 3]>,
    /// What has run, when that is asked for.
    pub marks: Option<crate::coverage::Marks>,
    /// `.explicitcluster`.
    pub needs_cluster: bool,
}

impl Program {
    /// Where the instruction at `pc` stands.
    pub fn location(&self, pc: u32) -> Location {
        let last = self.source.len().saturating_sub(1);
        let index = self.source.get((pc as usize).min(last)).copied().unwrap_or(0);
        self.locations.get(index as usize).cloned().unwrap_or_else(|| Location {
            file: String::new(),
            line: 0,
            instruction: "end of the code".to_string(),
        })
    }
}

/// The lanes of a mask in ascending order.
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let lane = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        Some(lane)
    })
}

impl Registers {
    /// Writes a column under a mask.
    #[inline(always)]
    pub fn write(&mut self, d: u16, mask: u32, values: &Column) {
        let column = &mut self.columns[d as usize];
        if mask == FULL {
            *column = *values;
        } else {
            for lane in lanes(mask) {
                column[lane] = values[lane];
            }
        }
    }

    /// Replaces a predicate's bits under a mask.
    #[inline(always)]
    pub fn write_predicate(&mut self, d: u16, mask: u32, bits: u32) {
        let predicate = &mut self.predicates[d as usize];
        *predicate = (*predicate & !mask) | (bits & mask);
    }

    #[inline(always)]
    pub fn unary(&mut self, mask: u32, s: &Args, f: impl Fn(u64) -> u64) {
        if mask == FULL {
            let a = &self.columns[s.a as usize];
            let out: Column = std::array::from_fn(|i| f(a[i]));
            self.columns[s.d as usize] = out;
        } else {
            for i in lanes(mask) {
                self.columns[s.d as usize][i] = f(self.columns[s.a as usize][i]);
            }
        }
    }

    #[inline(always)]
    pub fn binary(&mut self, mask: u32, s: &Args, f: impl Fn(u64, u64) -> u64) {
        if mask == FULL {
            let (a, b) = (&self.columns[s.a as usize], &self.columns[s.b as usize]);
            let out: Column = std::array::from_fn(|i| f(a[i], b[i]));
            self.columns[s.d as usize] = out;
        } else {
            for i in lanes(mask) {
                self.columns[s.d as usize][i] = f(self.columns[s.a as usize][i], self.columns[s.b as usize][i]);
            }
        }
    }

    #[inline(always)]
    pub fn ternary(&mut self, mask: u32, s: &Args, f: impl Fn(u64, u64, u64) -> u64) {
        if mask == FULL {
            let (a, b, c) = (&self.columns[s.a as usize], &self.columns[s.b as usize], &self.columns[s.c as usize]);
            let out: Column = std::array::from_fn(|i| f(a[i], b[i], c[i]));
            self.columns[s.d as usize] = out;
        } else {
            for i in lanes(mask) {
                self.columns[s.d as usize][i] =
                    f(self.columns[s.a as usize][i], self.columns[s.b as usize][i], self.columns[s.c as usize][i]);
            }
        }
    }

    /// Lanes for which a comparison holds.
    #[inline(always)]
    pub fn compare(&self, mask: u32, s: &Args, f: impl Fn(u64, u64) -> bool) -> u32 {
        let (a, b) = (&self.columns[s.a as usize], &self.columns[s.b as usize]);
        let mut bits = 0u32;
        if mask == FULL {
            for i in 0..32 {
                bits |= (f(a[i], b[i]) as u32) << i;
            }
        } else {
            for i in lanes(mask) {
                bits |= (f(a[i], b[i]) as u32) << i;
            }
        }
        bits
    }
}
