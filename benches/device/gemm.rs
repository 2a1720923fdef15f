//! Computations to run beside communication, and an idle kernel that holds as many SMs.

use std::fmt;
use std::time::Duration;

use serde_json::json;
use warpferry::driver::WordWait;
use warpferry::mem::{Buffer, HostBuffer};

use super::lab::{all, Lab, Shot, Value};
use super::pattern::{pattern, words};
use super::record::{Failure, Figure, Samples};
use super::{Scale, Suite};

/// Warps of a CTA of `probe_gemm`.
const WARPS: u32 = 8;
/// CTAs of `probe_gemm` on one SM.
const CTAS_PER_SM: u32 = 2;
/// Rows and columns of a tile.
const TILE: u32 = 64;
/// Elements of C that are compared with the sum by definition, when not all are.
const CHECKED: u32 = 64;
/// Most elements of C for which all are compared.
const CHECKED_ALL: u32 = 1 << 14;
/// Longest that `probe_hold` holds SMs.
const HOLD_LIMIT_NS: u64 = 5_000_000_000;
/// Longest that the host waits for them to be held.
const HOLD_PATIENCE: Duration = Duration::from_secs(2);
/// Rows and columns of the vendor's GEMM.
#[cfg(feature = "cuda")]
const CUBLAS_SIDE: u32 = 4096;

/// What runs beside communication.
pub trait Computation: Send + fmt::Debug {
    /// As in results.
    fn name(&self) -> String;

    /// Sums and products.
    fn operations(&self) -> f64;

    /// Puts it into the lab's stream, planned for `sms` SMs.
    fn launch(&self, lab: &Lab, sms: u32) -> Result<(), Failure>;

    /// Overwrites the result, so that [`Computation::check`] looks at the next one.
    fn spoil(&self, lab: &Lab) -> Result<(), Failure>;

    /// Compares elements of the result with their definition.
    fn check(&self, lab: &Lab) -> Result<(), Failure>;
}

/// Puts `count` runs into the lab's stream, between its events.
pub fn begin(computation: &dyn Computation, lab: &Lab, sms: u32, count: u32) -> Result<(), Failure> {
    lab.timer().begin()?;
    for _ in 0..count {
        computation.launch(lab, sms)?;
    }
    lab.timer().end()
}

/// `count` runs in a row: nanoseconds of one.
pub fn time_ns(computation: &dyn Computation, lab: &Lab, sms: u32, count: u32) -> Result<f64, Failure> {
    begin(computation, lab, sms, count)?;
    Ok(lab.timer().time_ns()? as f64 / f64::from(count))
}

/// What a machine can compute.
#[derive(Debug)]
pub struct Computations {
    /// Each was run once.
    pub found: Vec<Box<dyn Computation>>,
    /// Why the vendor's is not among them.
    pub missing: Option<String>,
}

/// Every computation that this machine has.
pub fn computations(lab: &Lab, scale: Scale) -> Result<Computations, Failure> {
    let (rows, columns, depth) = scale.pick((128, 64, 32), (4096, 4096, 1024), (4096, 4096, 1024));
    let mut found: Vec<Box<dyn Computation>> = vec![Box::new(Gemm::new(lab, rows, columns, depth)?)];
    let missing = match cublas(lab) {
        Ok(cublas) => {
            found.push(cublas);
            None
        }
        Err(why) => Some(why.to_string()),
    };
    for computation in &found {
        computation.launch(lab, lab.driver().info().sms)?;
        computation.check(lab)?;
    }
    Ok(Computations { found, missing })
}

#[cfg(feature = "cuda")]
fn cublas(lab: &Lab) -> Result<Box<dyn Computation>, Failure> {
    Ok(Box::new(super::cublas::Cublas::new(lab, CUBLAS_SIDE)?))
}

#[cfg(not(feature = "cuda"))]
fn cublas(_lab: &Lab) -> Result<Box<dyn Computation>, Failure> {
    Err(Failure::wrong("cublas", "this build has no feature `cuda`"))
}

/// Matrices on the device, C = A * B.
#[derive(Debug)]
pub struct Gemm {
    rows: u32,
    columns: u32,
    depth: u32,
    a: Buffer,
    b: Buffer,
    c: Buffer,
}

/// Element of A or B: a small whole number, so that every sum is exact in f32.
fn element(index: u32, seed: u32) -> f32 {
    (pattern(index, seed) % 7) as f32 - 3.0
}

impl Gemm {
    /// Matrices with whole numbers in them.
    pub fn new(lab: &Lab, rows: u32, columns: u32, depth: u32) -> Result<Gemm, Failure> {
        let matrix = |elements: u32, seed: u32| -> Vec<u8> {
            (0..elements).flat_map(|index| element(index, seed).to_le_bytes()).collect()
        };
        Ok(Gemm {
            rows,
            columns,
            depth,
            a: lab.alloc_with(&matrix(rows * depth, 1))?,
            b: lab.alloc_with(&matrix(depth * columns, 2))?,
            c: lab.alloc(4 * u64::from(rows * columns))?,
        })
    }
}

impl Computation for Gemm {
    fn name(&self) -> String {
        format!("gemm_f32_{}x{}x{}", self.rows, self.columns, self.depth)
    }

    fn operations(&self) -> f64 {
        2.0 * f64::from(self.rows) * f64::from(self.columns) * f64::from(self.depth)
    }

    fn launch(&self, lab: &Lab, sms: u32) -> Result<(), Failure> {
        let sizes = [self.rows, self.columns, self.depth].map(Value::Word);
        let args = [&[all(&self.a), all(&self.b), all(&self.c)][..], &sizes].concat();
        let grid = (self.rows / TILE * (self.columns / TILE)).min(sms * CTAS_PER_SM);
        lab.launch(&Shot { kernel: "probe_gemm", grid, warps: WARPS, shared_bytes: 0, args: &args, reach: &[] })
    }

    fn spoil(&self, lab: &Lab) -> Result<(), Failure> {
        Ok(lab.driver().fill(self.c.ptr(), 0xff, self.c.bytes(), lab.timer().stream())?)
    }

    fn check(&self, lab: &Lab) -> Result<(), Failure> {
        let elements = self.rows * self.columns;
        let found = lab.read(self.c.ptr(), 4 * elements as usize)?;
        let found: Vec<f32> = words(&found).map(f32::from_bits).collect();
        let every = if elements <= CHECKED_ALL { 1 } else { (elements / CHECKED) | 1 };
        for index in (0..elements).step_by(every as usize) {
            let (row, column) = (index / self.columns, index % self.columns);
            let product = |k: u32| element(row * self.depth + k, 1) * element(k * self.columns + column, 2);
            let expected: f32 = (0..self.depth).map(product).sum();
            if found[index as usize] != expected {
                let why = format!("C[{row}][{column}] is {}, expected {expected}", found[index as usize]);
                return Err(Failure::wrong("probe_gemm", &why));
            }
        }
        Ok(())
    }
}

/// SMs held by an idle kernel, until it is let go.
#[derive(Debug)]
pub struct Hold<'a> {
    lab: &'a Lab,
    leave: HostBuffer,
    /// The kernel may write it as long as it runs.
    _held: HostBuffer,
}

impl<'a> Hold<'a> {
    /// Holds `sms` SMs, each with all of its shared memory; returns when they are held. The kernel fills the stream of
    /// `lab`.
    pub fn new(lab: &'a Lab, sms: u32) -> Result<Hold<'a>, Failure> {
        let leave = lab.alloc_host(8)?;
        let held = lab.alloc_host(8 * u64::from(sms))?;
        let memory = |buffer: &HostBuffer| Value::Memory(buffer.block().device, buffer.block().bytes);
        let args = [memory(&leave), memory(&held), Value::Long(HOLD_LIMIT_NS)];
        let shared_bytes = lab.driver().info().shared_bytes;
        lab.launch(&Shot { kernel: "probe_hold", grid: sms, warps: 1, shared_bytes, args: &args, reach: &[] })?;
        let stream = lab.timer().stream();
        for block in 0..u64::from(sms) {
            let seen = lab.driver().wait_word(held.block(), 8 * block, 1, stream, HOLD_PATIENCE)?;
            if seen != WordWait::Reached {
                return Err(Failure::wrong("probe_hold", &format!("block {block} of {sms} does not run: {seen:?}")));
            }
        }
        Ok(Hold { lab, leave, _held: held })
    }

    /// Lets go.
    pub fn release(self) -> Result<(), Failure> {
        self.lab.driver().write_host(self.leave.block(), 0, &1_u64.to_le_bytes())?;
        self.lab.wait()
    }
}

/// Group `gemm`: each computation alone, by SMs that it is planned for.
pub fn group(suite: &mut Suite) -> Result<(), Failure> {
    let Computations { found, missing } = computations(&suite.lab, suite.scale)?;
    if let Some(why) = missing {
        suite.report.skip("gemm: cublas", &why);
    }
    let sms = suite.lab.driver().info().sms;
    let plans = [sms, sms.saturating_sub(8), sms.saturating_sub(16), sms.saturating_sub(32), sms / 2];
    for computation in &found {
        for planned in plans.into_iter().filter(|&planned| planned > 0) {
            let mut samples = Samples::default();
            for _ in 0..suite.scale.pick(1, 3, 5) {
                let time_ns = time_ns(&**computation, &suite.lab, planned, suite.scale.pick(1, 3, 5))?;
                samples.push(computation.operations() / time_ns.max(1.0) / 1e3);
            }
            computation.spoil(&suite.lab)?;
            computation.launch(&suite.lab, planned)?;
            computation.check(&suite.lab)?;
            let parameters = vec![("planned_sms", json!(planned))];
            suite.report.probe("gemm", Figure::new(&computation.name(), parameters, "TFLOP/s", samples));
        }
    }
    Ok(())
}
