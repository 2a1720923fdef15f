//! A published point, and how the model gets the same quantity.

/// A value that somebody measured.
#[derive(Debug)]
pub struct Point {
    /// What points are summed up by.
    pub group: &'static str,
    /// What it is, short.
    pub name: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Preset that stands for the machine that it was measured on.
    pub machine: &'static str,
    /// The value.
    pub published: f64,
    /// Its unit.
    pub unit: &'static str,
    /// How the model gets it.
    pub how: How,
}

/// How a quantity is modelled.
#[derive(Debug)]
pub enum How {
    /// As an operation of a whole world.
    Operation(Operation),
    /// As an act of a probe kernel.
    Act(Act),
}

/// A workload, a setting, and which of its figures is taken.
#[derive(Debug)]
pub struct Operation {
    /// The workload and the setting.
    pub world: World,
    /// The figure.
    pub figure: Figure,
}

/// A workload with 256 experts, 8 of them a token, and rows of 7,168 elements, and how it is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct World {
    /// Nodes.
    pub nodes: u32,
    /// GPUs of a node.
    pub gpus: u32,
    /// Tokens of a rank.
    pub tokens: u32,
    /// Most nodes of a token; 0 for a uniform gate.
    pub node_limit: u32,
    /// Rows of dispatch are FP8 with scales, else bf16.
    pub rows: Rows,
    /// SMs of each operation; the rest of the setting is what [`Tuning::with_sms`](warpferry::plan::Tuning::with_sms) goes with them.
    pub sms: u32,
    /// Rows land in the outputs at once, else in rings.
    pub direct: bool,
}

/// What dispatch's rows hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// FP8 e4m3 with a scale of f32 for each 128 elements.
    Fp8,
    /// bf16.
    Bf16,
}

/// A figure of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Logical GB/s of dispatch, layout and exchange included; beside it the kernel's alone.
    DispatchGbs,
    /// Logical GB/s of the dispatch kernel.
    DispatchKernelGbs,
    /// Logical GB/s of combine.
    CombineGbs,
    /// Time of dispatch, layout and exchange included; beside it the kernel's alone.
    DispatchUs,
    /// Time of combine.
    CombineUs,
}

/// A figure of the device benches.
#[derive(Debug)]
pub struct Act {
    /// Group of the benches, as on their command line.
    pub group: &'static str,
    /// Name of the figure.
    pub figure: &'static str,
    /// Parameters that it must have: names, and values as in JSON. Of several that do the best is taken.
    pub parameters: &'static [(&'static str, &'static str)],
    /// What the figure is multiplied with for the point's unit.
    pub scale: f64,
    /// Whether more is better.
    pub more: bool,
}

/// A point and what came out.
#[derive(Debug)]
pub struct Measured {
    /// The point.
    pub point: &'static Point,
    /// What the model says, in the point's unit.
    pub modelled: f64,
    /// The same of the kernel alone, where the point's value has more in it.
    pub beside: Option<f64>,
}

impl Measured {
    /// Error in percent of the published value.
    pub fn error_percent(&self) -> f64 {
        (self.modelled / self.point.published - 1.0) * 100.0
    }
}
