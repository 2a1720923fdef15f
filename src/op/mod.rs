//! What a caller wants done, and what comes back: dispatch, combine, and the handle between them.

mod pending;

pub(crate) use pending::Finish;
pub use pending::Pending;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use crate::comm::shared::{Known, Outcome, Report, Shared, Totals};
use crate::driver::EventId;
use crate::error::{Error, Result};
use crate::graph::Captured;
use crate::mem::{Buffer, DType, Tensor};
use crate::plan::{OutputLayout, Shape};

/// Longest time without progress before kernels give up, unless an operation says otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(100);
/// Most rows of a bound: kernels number them in 31 bits.
const BOUND_MAX: usize = (1 << 31) - 1;
/// Most biases of a combine.
const BIASES_MAX: usize = 2;
/// Alignment of rows: bulk copies move 16 bytes.
const ROW_ALIGN_BYTES: u64 = 16;

/// What an operation's kernels read and write: kept until they have ended, however the call itself went.
#[derive(Debug)]
#[allow(dead_code)] // most is held, not looked at
pub(crate) struct Keep {
    /// What each operation of the call says.
    pub reports: Vec<Report>,
    pub routing: Option<Arc<Buffer>>,
    pub tensors: Vec<Tensor>,
    pub graph: Option<Arc<Captured>>,
}

/// Send each token's row to the ranks of its experts.
#[derive(Debug, Clone)]
#[must_use]
pub struct Dispatch {
    pub(crate) x: Tensor,
    pub(crate) x_scales: Option<Tensor>,
    pub(crate) topk_idx: Tensor,
    pub(crate) topk_weights: Option<Tensor>,
    pub(crate) cached: Option<Handle>,
    pub(crate) bound: Option<usize>,
    pub(crate) after: Vec<EventId>,
    pub(crate) timeout: Duration,
}

impl Dispatch {
    /// Rows `x`, of the communicator's [`Payload`](crate::plan::Payload), `[tokens, hidden]`, to the experts `topk_idx`, i32 `[tokens, topk]`; -1 masks a choice.
    pub fn new(x: &Tensor, topk_idx: &Tensor) -> Dispatch {
        Dispatch {
            x: x.clone(),
            x_scales: None,
            topk_idx: topk_idx.clone(),
            topk_weights: None,
            cached: None,
            bound: None,
            after: Vec::new(),
            timeout: TIMEOUT_DEFAULT,
        }
    }

    /// Scales of the rows, `[tokens, ceil(hidden / 128)]`, which [`Payload::Fp8`](crate::plan::Payload::Fp8) needs.
    pub fn scales(mut self, x_scales: &Tensor) -> Dispatch {
        self.x_scales = Some(x_scales.clone());
        self
    }

    /// Weights of the choices, f32 `[tokens, topk]`, to travel with the rows. A rank that gives none gets none; rows that come
    /// from it have weights of 0.
    pub fn weights(mut self, topk_weights: &Tensor) -> Dispatch {
        self.topk_weights = Some(topk_weights.clone());
        self
    }

    /// Uses the routing of an earlier dispatch with the same `topk_idx`, which is not compared: no counting, no exchange of counts, no host
    /// wait. The backward pass of a combine is such a dispatch. Every rank must do so, or none.
    pub fn cached(mut self, handle: &Handle) -> Dispatch {
        self.cached = Some(handle.clone());
        self
    }

    /// Makes outputs of `rows` rows and does not wait for the counts: the call returns as soon as its kernels are launched, and
    /// `wait` says how many rows there are. Rows beyond the bound are dropped, and `wait` gives [`Error::Overflow`], as does
    /// that of every combine and cached dispatch along the handle: [`Pending::take_what_fits`] has the results. A dropped row
    /// counts as zeros in its token's sum; only this rank is told. Ranks need not do the same, nor have the same bound.
    pub fn bound(mut self, rows: usize) -> Dispatch {
        self.bound = Some(rows);
        self
    }

    /// Begins when `event` of the communicator's driver is reached, as it was last recorded before the call; nobody waits for
    /// that but the stream. Several times for several events.
    pub fn after(mut self, event: EventId) -> Dispatch {
        self.after.push(event);
        self
    }

    /// Longest time without progress before the kernels give up.
    pub fn timeout(mut self, timeout: Duration) -> Dispatch {
        self.timeout = timeout;
        self
    }

    /// Checks all tensors; gives the number of tokens.
    pub(crate) fn check(&self, shared: &Shared) -> Result<usize> {
        let shape = &shared.plan.shape;
        let payload = shape.payload();
        let columns = payload.columns(shape.hidden()) as usize;
        let tokens = rows_of("x", &self.x, payload.given(), columns, shared)?;
        if tokens > shape.max_tokens() as usize {
            return Err(Error::argument(
                "x",
                format!("{tokens} tokens"),
                format!("at most {}, the communicator's max_tokens", shape.max_tokens()),
            ));
        }
        check_align("x", &self.x)?;
        let topk = shape.topk() as usize;
        let tokens_of_x = Rows { count: tokens, of: "the tokens of x" };
        check_rows("topk_idx", &self.topk_idx, DType::I32, topk, tokens_of_x, shared)?;
        if let Some(weights) = &self.topk_weights {
            check_rows("topk_weights", weights, DType::F32, topk, tokens_of_x, shared)?;
        }
        match (&self.x_scales, payload.scales().filter(|_| payload.takes_scales())) {
            (Some(scales), Some(kind)) => {
                check_rows("scales", scales, kind.dtype(), shape.scale_columns() as usize, tokens_of_x, shared)?;
            }
            (None, Some(kind)) => {
                let valid = format!("{kind} [tokens, {}], which rows of {payload} need", shape.scale_columns());
                return Err(Error::argument("scales", "none", valid));
            }
            (Some(scales), None) => {
                return Err(Error::argument(
                    "scales",
                    scales.dtype(),
                    format!("none: nobody gives scales with {payload}"),
                ));
            }
            (None, None) => {}
        }
        if let Some(bound) = self.bound {
            if !(1..=BOUND_MAX).contains(&bound) {
                return Err(Error::argument("bound", bound, format!("1 to {BOUND_MAX} rows")));
            }
            if self.cached.is_some() {
                return Err(Error::argument("bound", bound, "none with a cached handle, whose rows are known"));
            }
        }
        if let Some(handle) = &self.cached {
            handle.check_owner(shared)?;
            if handle.tokens() != tokens {
                return Err(Error::argument(
                    "x",
                    format!("{tokens} tokens"),
                    format!("{}, the tokens of the cached handle", handle.tokens()),
                ));
            }
        }
        check_timeout(self.timeout)?;
        Ok(tokens)
    }
}

/// Rows that arrived, ordered as the communicator's [`OutputLayout`] says: one row for each token
/// that came, or one for each (token, choice) pair of a local expert and rows of zeros between the experts' parts.
#[derive(Debug, Clone)]
pub struct Dispatched {
    /// `[rows, hidden]`, of [`Payload::dtype`](crate::plan::Payload::dtype): bit for bit what was given, or that quantized.
    pub x: Tensor,
    /// `[rows, ceil(hidden / 128)]`, where rows have scales.
    pub x_scales: Option<Tensor>,
    /// i32 `[rows, topk]`: number of a local expert, or -1 for choices of other ranks. By expert i32 `[rows, 1]`: the row's
    /// expert, -1 for a row of zeros.
    pub topk_idx: Tensor,
    /// f32 `[rows, topk]`, when the dispatch carried weights. By expert f32 `[rows, 1]`: the weight of the pair.
    pub topk_weights: Option<Tensor>,
    /// i32 `[rows, 2]`: source rank and token; -1 for a row of zeros.
    pub source: Tensor,
    /// Whether forwarders wrote the rows where they are ([`Landing::Direct`](crate::plan::Landing)); else they came through
    /// rings.
    pub landed: bool,
    /// Number of rows. With a bound the tensors have as many as that, and these come first; behind them `topk_idx` and `source`
    /// are -1, and nothing is said of the others.
    pub rows: usize,
    /// (token, choice) pairs of each local expert.
    pub expert_counts: Vec<u32>,
    /// By expert: first row of each local expert's part, and the number of rows.
    pub expert_offsets: Vec<u32>,
    /// The routing, for [`Combine`].
    pub handle: Handle,
}

impl Finish for Dispatched {
    fn finish(&mut self, shared: &Shared, outcome: &Outcome) {
        if let Some(totals) = outcome.totals.iter().flatten().next() {
            self.fill(shared, totals);
        }
    }
}

impl Dispatched {
    /// What is known of the rows.
    pub(crate) fn fill(&mut self, shared: &Shared, totals: &Totals) {
        self.rows = totals.rows.min(self.handle.rows());
        // What overflows comes through rings.
        self.landed = shared.landing_row(&self.x).is_some() && totals.rows == self.rows;
        self.expert_counts.clone_from(&totals.expert_counts);
        self.expert_offsets = expert_offsets(&shared.plan.shape, &totals.expert_counts);
    }
}

/// First row of each expert's part, where rows are by expert.
pub(crate) fn expert_offsets(shape: &Shape, counts: &[u32]) -> Vec<u32> {
    match shape.layout() {
        OutputLayout::Rows => Vec::new(),
        layout => layout.offsets(counts),
    }
}

/// Bring rows back to their tokens and sum them.
#[derive(Debug, Clone)]
#[must_use]
pub struct Combine {
    pub(crate) rows_x: Tensor,
    pub(crate) rows_weights: Option<Tensor>,
    pub(crate) rows_scales: Option<Tensor>,
    pub(crate) biases: Vec<Tensor>,
    pub(crate) handle: Handle,
    pub(crate) after: Vec<EventId>,
    pub(crate) timeout: Duration,
}

impl Combine {
    /// Rows `x`, of the communicator's [`Sum`](crate::plan::Sum), `[rows, hidden]` in the order in which the dispatch delivered them, back along `handle`.
    pub fn new(x: &Tensor, handle: &Handle) -> Combine {
        Combine {
            rows_x: x.clone(),
            rows_weights: None,
            rows_scales: None,
            biases: Vec::new(),
            handle: handle.clone(),
            after: Vec::new(),
            timeout: TIMEOUT_DEFAULT,
        }
    }

    /// Weights of the rows, f32 `[rows, topk]`, by expert f32 `[rows, 1]`, to be summed for each token and choice. All ranks
    /// give them, or none.
    pub fn weights(mut self, topk_weights: &Tensor) -> Combine {
        self.rows_weights = Some(topk_weights.clone());
        self
    }

    /// Multiplies each row by its number in `scales`, f32 `[rows, 1]`, before it is added: the gate's weights, where experts
    /// did not apply them. For rows by expert.
    pub fn scaled_by(mut self, scales: &Tensor) -> Combine {
        self.rows_scales = Some(scales.clone());
        self
    }

    /// Adds `bias`, `[tokens, hidden]` of the communicator's [`Sum`](crate::plan::Sum), to the result before it is rounded;
    /// twice at most. Ranks need not do the same.
    pub fn bias(mut self, bias: &Tensor) -> Combine {
        self.biases.push(bias.clone());
        self
    }

    /// Begins when `event` is reached, as [`Dispatch::after`] says.
    pub fn after(mut self, event: EventId) -> Combine {
        self.after.push(event);
        self
    }

    /// Longest time without progress before the kernels give up.
    pub fn timeout(mut self, timeout: Duration) -> Combine {
        self.timeout = timeout;
        self
    }

    pub(crate) fn check(&self, shared: &Shared) -> Result<()> {
        self.handle.check_owner(shared)?;
        let handle = &self.handle.inner;
        let shape = &shared.plan.shape;
        let rows = rows_of("x", &self.rows_x, shape.sum().dtype(), shape.hidden() as usize, shared)?;
        if rows != handle.rows {
            return Err(Error::argument(
                "x",
                format!("{rows} rows"),
                format!("{}, the rows of the dispatch", handle.rows),
            ));
        }
        check_align("x", &self.rows_x)?;
        if let Some(weights) = &self.rows_weights {
            let rows = Rows { count: rows, of: "the rows of x" };
            check_rows("topk_weights", weights, DType::F32, choices_of_a_row(shape), rows, shared)?;
        }
        match (&self.rows_scales, shape.layout()) {
            (None, _) => {}
            (Some(scales), OutputLayout::Experts { .. }) => {
                let rows = Rows { count: rows, of: "the rows of x" };
                check_rows("scales", scales, DType::F32, 1, rows, shared)?;
            }
            (Some(scales), layout) => {
                let given = format!("{} {:?}", scales.dtype(), scales.shape());
                return Err(Error::argument("scales", given, format!("none: rows are {layout}, not by expert")));
            }
        }
        if self.biases.len() > BIASES_MAX {
            return Err(Error::argument("bias", format!("{} biases", self.biases.len()), format!("0 to {BIASES_MAX}")));
        }
        for bias in &self.biases {
            let tokens = Rows { count: handle.tokens, of: "the tokens of the handle" };
            check_rows("bias", bias, shape.sum().dtype(), shape.hidden() as usize, tokens, shared)?;
            check_align("bias", bias)?;
        }
        check_timeout(self.timeout)
    }
}

/// What combine gives.
#[derive(Debug, Clone)]
pub struct Combined {
    /// `[tokens, hidden]`, of the type that was given: for each own token the sum of its rows and biases; zero where there
    /// are none.
    pub x: Tensor,
    /// f32 `[tokens, topk]`: for each own token and choice the sum of its rows' weights, when weights were given.
    pub topk_weights: Option<Tensor>,
}

impl Finish for Combined {
    fn finish(&mut self, _: &Shared, _: &Outcome) {}
}

/// The routing of a dispatch. Any number may be alive; clones share it.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) inner: Arc<HandleInner>,
}

/// A handle's memory and sizes.
#[derive(Debug)]
pub(crate) struct HandleInner {
    pub buffer: Arc<Buffer>,
    pub communicator: u64,
    pub tokens: usize,
    /// Rows of the tensors: those that were delivered, or the bound.
    pub rows: usize,
    /// Whether they are a bound.
    pub bounded: bool,
    /// Known when an exchange has ended.
    pub counts: Arc<Known>,
    /// By expert: i32 `[tokens that came, topk]`, the row of each pair.
    pub places: Option<Tensor>,
    /// (token, choice) pairs of each local expert and first row of each expert's part, on the device.
    pub on_device: (Tensor, Option<Tensor>),
    /// Rows that come, on the device.
    pub rows_on_device: Tensor,
    /// Whether an exchange that fills it was launched: one of a step is only with the step's first replay.
    pub filled: AtomicBool,
}

impl Handle {
    /// Tokens that were dispatched from this rank.
    pub fn tokens(&self) -> usize {
        self.inner.tokens
    }

    /// Rows that a combine takes: those that were delivered to this rank, or the bound of the dispatch.
    pub fn rows(&self) -> usize {
        self.inner.rows
    }

    /// i32 `[1]` on the device: rows that come, all of them, whatever the tensors have room for. What runs between a bounded
    /// dispatch and its combine finds there how many of the rows hold something.
    pub fn row_count(&self) -> &Tensor {
        &self.inner.rows_on_device
    }

    /// i32 `[experts of the rank]` on the device: (token, choice) pairs of each local expert.
    pub fn expert_counts(&self) -> &Tensor {
        &self.inner.on_device.0
    }

    /// i32 `[experts of the rank + 1]` on the device, where rows are by expert: first row of each local expert's part, and the
    /// number of rows.
    pub fn expert_offsets(&self) -> Option<&Tensor> {
        self.inner.on_device.1.as_ref()
    }

    /// Fails while nothing was launched that fills the handle.
    pub(crate) fn check_filled(&self) -> Result<()> {
        if self.inner.filled.load(Ordering::Acquire) {
            return Ok(());
        }
        let valid = "one whose dispatch was launched: that of a step is with the first replay of its graph";
        Err(Error::argument("handle", "of a step that was not replayed", valid))
    }

    fn check_owner(&self, shared: &Shared) -> Result<()> {
        if self.inner.communicator == shared.id {
            return Ok(());
        }
        Err(Error::argument(
            "handle",
            format!("of communicator {}", self.inner.communicator),
            format!("a handle from a dispatch of this communicator, {}", shared.id),
        ))
    }
}

/// Choices that an output row is described by.
pub(crate) fn choices_of_a_row(shape: &Shape) -> usize {
    match shape.layout() {
        OutputLayout::Rows => shape.topk() as usize,
        OutputLayout::Experts { .. } => 1,
    }
}

/// Checks that a tensor was made by this communicator.
pub(crate) fn check_owner(name: &str, tensor: &Tensor, shared: &Shared) -> Result<()> {
    if tensor.communicator() == shared.id {
        return Ok(());
    }
    Err(Error::argument(
        name,
        format!("a tensor of communicator {}", tensor.communicator()),
        format!("a tensor made by this communicator, {}", shared.id),
    ))
}

/// Checks a tensor's owner, type and row length; gives its rows.
fn rows_of(name: &str, tensor: &Tensor, dtype: DType, columns: usize, shared: &Shared) -> Result<usize> {
    check_owner(name, tensor, shared)?;
    if tensor.dtype() != dtype {
        return Err(Error::argument(name, tensor.dtype(), dtype.to_string()));
    }
    match tensor.shape() {
        [rows, found] if *found == columns => Ok(*rows),
        shape => Err(Error::argument(name, format!("shape {shape:?}"), format!("[rows, {columns}]"))),
    }
}

/// How many rows a tensor must have, and why.
#[derive(Debug, Clone, Copy)]
struct Rows {
    count: usize,
    of: &'static str,
}

/// Checks a tensor as [`rows_of`] does, and the number of its rows.
fn check_rows(name: &str, tensor: &Tensor, dtype: DType, columns: usize, rows: Rows, shared: &Shared) -> Result<()> {
    match rows_of(name, tensor, dtype, columns, shared)? {
        found if found == rows.count => Ok(()),
        found => Err(Error::argument(name, format!("{found} rows"), format!("{}, {}", rows.count, rows.of))),
    }
}

fn check_align(name: &str, tensor: &Tensor) -> Result<()> {
    if tensor.ptr().address().is_multiple_of(ROW_ALIGN_BYTES) {
        return Ok(());
    }
    Err(Error::argument(name, format!("address {}", tensor.ptr()), format!("aligned to {ROW_ALIGN_BYTES} bytes")))
}

fn check_timeout(timeout: Duration) -> Result<()> {
    // Kernels add it to a 64-bit clock in nanoseconds: half the range keeps the sum from wrapping.
    if timeout.is_zero() || timeout.as_nanos() > u128::from(u64::MAX / 2) {
        return Err(Error::argument("timeout", format!("{timeout:?}"), "more than zero and less than 292 years"));
    }
    Ok(())
}
