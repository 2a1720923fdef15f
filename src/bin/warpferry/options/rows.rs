//! Options that say what rows hold and how they are ordered.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use warpferry::plan::{Fp8, OutputLayout, Payload, Quantization, ScaleKind, Shape, Sum};
use warpferry::{Error, Result};

/// What rows hold there and back, and their order.
#[derive(Debug, Clone, Args)]
pub struct RowsOptions {
    /// What rows hold on their way to the experts: `bf16`, `fp16`, `fp32`, `bytes:N`, `fp8-e4m3` or `fp8-e5m2` (with
    /// scales that are given), or `fp8-quantize` (bf16 that the sending warps turn into e4m3)
    #[arg(long, default_value = "bf16")]
    pub payload: PayloadOption,
    /// Scales of fp8 rows, one for each 128 channels; power-of-two with fp8-quantize alone
    #[arg(long, value_enum)]
    pub scales: Option<ScalesOption>,
    /// What rows hold on their way back, and are summed in fp32 to: `bf16`, `fp16` or `fp32`
    #[arg(long, value_enum, default_value_t = CombineOption::Bf16)]
    pub combine: CombineOption,
    /// Order of the rows that arrive: one for each token by source, or one for each (token, choice) pair by expert
    #[arg(long, value_enum, default_value_t = LayoutOption::Rows)]
    pub layout: LayoutOption,
    /// Rows that each expert's part is rounded up to, with `--layout experts`
    #[arg(long)]
    pub align: Option<u32>,
}

impl RowsOptions {
    /// `shape` with these rows.
    pub fn shape(&self, shape: Shape) -> Result<Shape> {
        let payload = self.scales.map_or(Ok(self.payload.0), |scales| scales.of(self.payload.0))?;
        let layout = match (self.layout, self.align) {
            (LayoutOption::Experts, align) => OutputLayout::Experts { align: align.unwrap_or(1) },
            (LayoutOption::Rows, None) => OutputLayout::Rows,
            (LayoutOption::Rows, Some(align)) => {
                return Err(Error::argument("--align", align, "none, or --layout experts beside it"));
            }
        };
        shape.with_payload(payload)?.with_sum(self.combine.sum())?.with_layout(layout)
    }
}

/// `--payload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadOption(pub Payload);

impl FromStr for PayloadOption {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<PayloadOption, String> {
        let valid = "bf16, fp16, fp32, fp8-e4m3, fp8-e5m2, fp8-quantize and bytes:N";
        let wrong = || format!("`{text}` is no payload: valid are {valid}");
        Ok(PayloadOption(match text {
            "bf16" => Payload::Bf16,
            "fp16" => Payload::Fp16,
            "fp32" => Payload::Fp32,
            "fp8-e4m3" => Payload::Fp8(Fp8::E4m3, ScaleKind::F32),
            "fp8-e5m2" => Payload::Fp8(Fp8::E5m2, ScaleKind::F32),
            "fp8-quantize" => Payload::Quantize(Quantization::new(Fp8::E4m3, ScaleKind::F32)),
            _ => Payload::Bytes(text.strip_prefix("bytes:").and_then(|bytes| bytes.parse().ok()).ok_or_else(wrong)?),
        }))
    }
}

/// `--scales`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScalesOption {
    /// f32; the default.
    F32,
    /// f32 powers of two.
    PowerOfTwo,
    /// One byte each: powers of two.
    Ue8m0,
}

impl ScalesOption {
    /// The payload with these scales.
    fn of(self, payload: Payload) -> Result<Payload> {
        let kind = if self == ScalesOption::Ue8m0 { ScaleKind::Ue8m0 } else { ScaleKind::F32 };
        Ok(match payload {
            Payload::Fp8(format, _) if self != ScalesOption::PowerOfTwo => Payload::Fp8(format, kind),
            Payload::Fp8(..) => {
                let valid = "f32 or ue8m0 where scales are given; power-of-two is a way to make them (fp8-quantize)";
                return Err(Error::argument("--scales", "power-of-two", valid));
            }
            Payload::Quantize(how) => {
                let how = Quantization::new(how.format(), kind);
                Payload::Quantize(if self == ScalesOption::PowerOfTwo { how.power_of_two() } else { how })
            }
            other => {
                let given = self.to_possible_value().map_or(String::new(), |value| value.get_name().to_string());
                return Err(Error::argument("--scales", given, format!("none: rows are {other}")));
            }
        })
    }
}

/// `--layout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LayoutOption {
    /// By source rank and token.
    Rows,
    /// By expert.
    Experts,
}

/// `--combine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CombineOption {
    /// bf16.
    Bf16,
    /// IEEE half.
    Fp16,
    /// f32: not rounded behind the additions.
    Fp32,
}

impl CombineOption {
    /// As the library has it.
    pub fn sum(self) -> Sum {
        match self {
            CombineOption::Bf16 => Sum::Bf16,
            CombineOption::Fp16 => Sum::Fp16,
            CombineOption::Fp32 => Sum::Fp32,
        }
    }
}
