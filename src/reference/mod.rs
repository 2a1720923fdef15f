//! What dispatch and combine mean, in scalar code: the kernels' results equal these bit for bit.
//!
//! Nothing here is fast, knows a device, or shares code with the kernels' host side beyond [`Topology`] and [`Shape`].
//!
//! - [`Layout`] and [`Exchange`]: what the layout and exchange kernels write into a handle.
//! - [`dispatch`]: rows at each rank, ordered by (source rank, token), one row for each (token, destination rank).
//! - [`combine`]: two sums in fp32, each rounded to the rows' type once: over the ranks of a node, then over nodes.
//! - [`load_statistics`]: what the exchanges of a rank count.
//! - [`quantize()`] and [`dequantize`]: rows of bf16 as FP8 with a scale for each 128 elements, and back.
//!
//! Rows are bytes as tensors hold them: [`Shape::dispatch_row_bytes`] a row out, [`Shape::combine_row_bytes`] a row
//! back.
//!
//! [`Topology`]: crate::Topology
//! [`Shape`]: crate::plan::Shape
//! [`Shape::dispatch_row_bytes`]: crate::plan::Shape::dispatch_row_bytes
//! [`Shape::combine_row_bytes`]: crate::plan::Shape::combine_row_bytes

pub mod bf16;
mod combine;
mod dispatch;
mod experts;
pub mod fp8;
mod layout;
mod load;
mod number;
mod quantize;

pub use combine::{combine, CombineInput, CombineOutput};
pub use dispatch::{dispatch, rows, DispatchInput, DispatchOutput, Row};
pub use experts::NOBODY;
pub use layout::{channel_tokens, Exchange, Layout};
pub use load::load_statistics;
pub use number::{round, widen};
pub use quantize::{dequantize, quantize, Quantized, AMAX_MIN};
