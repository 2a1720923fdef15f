//! The computation: a GEMM in f32, and an idle kernel that holds as many SMs as a communication.

use serde_json::json;
use warpferry::mem::{Buffer, HostBuffer};

use super::lab::{all, Lab, Shot, Value};
use super::pattern::{pattern, words};
use super::record::{Failure, Figure, Samples};
use super::Suite;

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

    /// Sums and products.
    pub fn operations(&self) -> f64 {
        2.0 * f64::from(self.rows) * f64::from(self.columns) * f64::from(self.depth)
    }

    /// Puts it into the lab's stream, planned for `sms` SMs.
    pub fn launch(&self, lab: &Lab, sms: u32) -> Result<(), Failure> {
        let sizes = [self.rows, self.columns, self.depth].map(Value::Word);
        let args = [&[all(&self.a), all(&self.b), all(&self.c)][..], &sizes].concat();
        let grid = (self.rows / TILE * (self.columns / TILE)).min(sms * CTAS_PER_SM);
        lab.launch(&Shot { kernel: "probe_gemm", grid, warps: WARPS, shared_bytes: 0, args: &args, reach: &[] })
    }

    /// `count` times in a row: nanoseconds of one.
    pub fn time_ns(&self, lab: &Lab, sms: u32, count: u32) -> Result<f64, Failure> {
        self.begin(lab, sms, count)?;
        Ok(lab.timer().time_ns()? as f64 / f64::from(count))
    }

    /// Puts `count` of them into the lab's stream, between the events.
    pub fn begin(&self, lab: &Lab, sms: u32, count: u32) -> Result<(), Failure> {
        lab.timer().begin()?;
        for _ in 0..count {
            self.launch(lab, sms)?;
        }
        lab.timer().end()
    }

    /// Compares elements of C with their definition.
    pub fn check(&self, lab: &Lab) -> Result<(), Failure> {
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
pub struct Hold {
    lab: Lab,
    leave: HostBuffer,
    held: Buffer,
}

impl Hold {
    /// Holds `sms` SMs, each with all of its shared memory. `lab` is one of its own: the kernel fills its stream.
    pub fn new(lab: Lab, sms: u32) -> Result<Hold, Failure> {
        let leave = lab.alloc_host(8)?;
        let held = lab.alloc(4 * u64::from(sms))?;
        let args = [Value::Memory(leave.block().device, 8), all(&held), Value::Long(HOLD_LIMIT_NS)];
        let shared_bytes = lab.driver().info().shared_bytes;
        lab.launch(&Shot { kernel: "probe_hold", grid: sms, warps: 1, shared_bytes, args: &args, reach: &[] })?;
        Ok(Hold { lab, leave, held })
    }

    /// Lets go and checks that all were held.
    pub fn release(self) -> Result<(), Failure> {
        self.lab.driver().write_host(self.leave.block(), 0, &1_u64.to_le_bytes())?;
        self.lab.wait()?;
        let held = self.lab.read(self.held.ptr(), self.held.bytes() as usize)?;
        let idle = words(&held).position(|word| word != 1);
        match idle {
            None => Ok(()),
            Some(block) => Err(Failure::wrong("probe_hold", &format!("block {block} did not run"))),
        }
    }
}

/// Sizes of C and depth, by scale.
pub fn sizes(suite: &Suite) -> (u32, u32, u32) {
    suite.scale.pick((128, 64, 32), (4096, 4096, 1024), (4096, 4096, 1024))
}

/// Group `gemm`: alone, by SMs that it is planned for.
pub fn group(suite: &mut Suite) -> Result<(), Failure> {
    let (rows, columns, depth) = sizes(suite);
    let gemm = Gemm::new(&suite.lab, rows, columns, depth)?;
    let sms = suite.lab.driver().info().sms;
    gemm.launch(&suite.lab, sms)?;
    gemm.check(&suite.lab)?;
    let plans = [sms, sms.saturating_sub(8), sms.saturating_sub(16), sms.saturating_sub(32), sms / 2];
    for planned in plans.into_iter().filter(|&planned| planned > 0) {
        let mut samples = Samples::default();
        for _ in 0..suite.scale.pick(1, 3, 5) {
            samples.push(gemm.operations() / gemm.time_ns(&suite.lab, planned, suite.scale.pick(1, 3, 5))? / 1e3);
        }
        suite.lab.driver().fill(gemm.c.ptr(), 0xff, gemm.c.bytes(), suite.lab.timer().stream())?;
        gemm.launch(&suite.lab, planned)?;
        gemm.check(&suite.lab)?;
        let shape = format!("{rows}x{columns}x{depth}");
        let parameters = vec![("planned_sms", json!(planned)), ("shape", json!(shape))];
        suite.report.probe("gemm", Figure::new("gemm_f32", parameters, "TFLOP/s", samples));
    }
    Ok(())
}
