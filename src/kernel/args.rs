//! Typed arguments of every kernel: one struct a kernel, packed as the driver takes them.

use super::image::{ArgType, KernelImage};
use crate::error::{Error, Result};

trait Scalar {
    const TYPE: ArgType;
    fn put(self, bytes: &mut [u8]);
}

impl Scalar for u32 {
    const TYPE: ArgType = ArgType::U32;
    fn put(self, bytes: &mut [u8]) {
        bytes[..4].copy_from_slice(&self.to_le_bytes());
    }
}

impl Scalar for u64 {
    const TYPE: ArgType = ArgType::U64;
    fn put(self, bytes: &mut [u8]) {
        bytes[..8].copy_from_slice(&self.to_le_bytes());
    }
}

/// Name, type and byte offset of a field.
pub type Field = (&'static str, ArgType, u32);

/// Arguments of a kernel.
pub trait Args {
    /// Fields in order; the parameter is called `arg_` and the field's name.
    fn fields() -> &'static [Field];

    /// The arguments packed with natural alignment.
    fn to_bytes(&self) -> Vec<u8>;
}

macro_rules! args {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty),* }

        impl Args for $name {
            fn fields() -> &'static [Field] {
                const FIELDS: &[Field] = &[$((
                    stringify!($field),
                    <$ty as Scalar>::TYPE,
                    std::mem::offset_of!($name, $field) as u32,
                )),*];
                FIELDS
            }

            fn to_bytes(&self) -> Vec<u8> {
                let (_, ty, offset) = Self::fields()[Self::fields().len() - 1];
                let mut bytes = vec![0; (offset + ty.bytes()) as usize];
                $(self.$field.put(&mut bytes[std::mem::offset_of!($name, $field)..]);)*
                bytes
            }
        }
    };
}

/// Where outputs are that do not lie in the landing zone.
pub const LANDING_NONE: u32 = u32::MAX;

args! {
    /// `layout`: counts the rows and messages that own tokens make.
    Layout {
        /// `CommBlock`.
        comm: u64,
        /// Handle to fill.
        handle: u64,
        /// i32 `[tokens, topk]`, -1 for a choice that is masked.
        topk_idx: u64,
        /// Tokens.
        tokens: u32,
        /// Status line.
        status: u64,
    }
}

args! {
    /// `exchange_*`: tells peers the counts, learns theirs.
    Exchange {
        /// `CommBlock`.
        comm: u64,
        /// Handle to complete.
        handle: u64,
        /// Host-mapped `TotalsHead` and counts of the local experts.
        totals: u64,
        /// Status line.
        status: u64,
        /// Longest time without progress.
        deadline_ns: u64,
    }
}

args! {
    /// `dispatch_staged_*`: rows to the ranks of their experts.
    Dispatch {
        /// `CommBlock`.
        comm: u64,
        /// `LaunchBlock`.
        launch: u64,
        /// Handle that the exchange completed.
        handle: u64,
        /// `[tokens, hidden]`, aligned to 16 bytes.
        x: u64,
        /// `[tokens, scales]`, or 0 where none are given.
        x_scales: u64,
        /// i32 `[tokens, topk]`.
        topk_idx: u64,
        /// f32 `[tokens, topk]`, or 0.
        topk_weights: u64,
        /// `[rows, hidden]`.
        rows_x: u64,
        /// `[rows, scales]`, or 0 where rows have none.
        rows_scales: u64,
        /// i32 `[rows, topk]`: local expert, or -1.
        rows_idx: u64,
        /// f32 `[rows, topk]`, or 0 without weights.
        rows_weights: u64,
        /// i32 `[rows, 2]`: source rank and token.
        rows_source: u64,
        /// i32 `[tokens that come, topk]`: row of each pair, or 0 where rows are by source.
        places: u64,
        /// Tokens that places has room for.
        places_capacity: u64,
        /// Rows that the outputs hold.
        rows_capacity: u64,
        /// Row of the landing zone where the outputs begin, or [`LANDING_NONE`].
        landing: u32,
        /// Status lines, one a CTA.
        status: u64,
        /// Longest time without progress.
        deadline_ns: u64,
    }
}

args! {
    /// `pad`: zero rows between the parts of two experts.
    Pad {
        /// `CommBlock`.
        comm: u64,
        /// Handle that the exchange completed.
        handle: u64,
        /// `[rows, hidden]`.
        rows_x: u64,
        /// `[rows, scales]`, or 0 where rows have none.
        rows_scales: u64,
        /// i32 `[rows]`.
        rows_idx: u64,
        /// f32 `[rows]`, or 0 without weights.
        rows_weights: u64,
        /// i32 `[rows, 2]`.
        rows_source: u64,
        /// Rows that the outputs hold.
        rows_capacity: u64,
    }
}

args! {
    /// `combine_staged_*`: results back to the tokens' ranks, summed.
    Combine {
        /// `CommBlock`.
        comm: u64,
        /// `LaunchBlock`.
        launch: u64,
        /// Handle of the dispatch.
        handle: u64,
        /// `[rows, hidden]`.
        rows_x: u64,
        /// Rows that the tensors have.
        rows_capacity: u64,
        /// f32 `[rows, topk]`, by expert `[rows]`, or 0.
        rows_weights: u64,
        /// f32 `[rows]`, or 0: rows are not scaled.
        rows_scales: u64,
        /// i32 `[tokens that came, topk]`, or 0 where rows are by source.
        places: u64,
        /// Tokens that places has.
        places_capacity: u64,
        /// `[tokens, hidden]`, or 0.
        bias0: u64,
        /// Another, or 0.
        bias1: u64,
        /// `[tokens, hidden]`.
        out: u64,
        /// f32 `[tokens, topk]`, or 0.
        out_weights: u64,
        /// 1 when weights travel.
        weighs: u32,
        /// Status lines, one a CTA.
        status: u64,
        /// Longest time without progress.
        deadline_ns: u64,
    }
}

/// Checks that the fields of `A` are the parameters of `image`: names, types and offsets, in order.
///
/// # Errors
/// [`Error::Bug`] naming the first that differs.
pub fn check<A: Args>(image: &KernelImage) -> Result<()> {
    let fields = A::fields();
    if fields.len() != image.args.len() {
        return Err(Error::Bug(format!(
            "kernel {} takes {} parameters, the host packs {}",
            image.name,
            image.args.len(),
            fields.len()
        )));
    }
    for ((name, ty, offset), arg) in fields.iter().zip(image.args) {
        if arg.name.strip_prefix("arg_") != Some(*name) || arg.ty != *ty || arg.offset != *offset {
            return Err(Error::Bug(format!(
                "kernel {} takes {} as {:?} at byte {}, the host packs arg_{name} as {ty:?} at byte {offset}",
                image.name, arg.name, arg.ty, arg.offset
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_packed_with_natural_alignment() {
        let args = Layout { comm: 1, handle: 2, topk_idx: 3, tokens: 4, status: 5 };
        let words: Vec<u64> =
            args.to_bytes().chunks(8).map(|w| u64::from_le_bytes(w.try_into().expect("whole words"))).collect();
        assert_eq!(words, [1, 2, 3, 4, 5]);
        assert_eq!(Layout::fields()[3], ("tokens", ArgType::U32, 24));
        assert_eq!(Layout::fields()[4], ("status", ArgType::U64, 32));
    }

    /// Method: every embedded image that a struct belongs to is compared field by field.
    #[test]
    fn structs_agree_with_the_parsed_parameters() {
        for image in super::super::KERNELS {
            let stem = image.name.split('_').next().unwrap_or_default();
            match stem {
                "layout" => check::<Layout>(image),
                "exchange" => check::<Exchange>(image),
                "pad" => check::<Pad>(image),
                "dispatch" => check::<Dispatch>(image),
                "combine" => check::<Combine>(image),
                _ => Err(Error::Bug(format!("no struct for kernel {}", image.name))),
            }
            .unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn a_parameter_that_moved_is_named() {
        use super::super::image::KernelArg;
        const ARGS: &[KernelArg] = &[
            KernelArg { name: "arg_comm", ty: ArgType::U64, offset: 0, pointer: None },
            KernelArg { name: "arg_handle", ty: ArgType::U64, offset: 8, pointer: None },
            KernelArg { name: "arg_topk_idx", ty: ArgType::U64, offset: 16, pointer: None },
            KernelArg { name: "arg_tokens", ty: ArgType::U64, offset: 24, pointer: None },
            KernelArg { name: "arg_status", ty: ArgType::U64, offset: 32, pointer: None },
        ];
        let image = KernelImage {
            name: "layout",
            kernel: "layout",
            text: "",
            marked_text: "",
            args: ARGS,
            static_shared: 0,
            max_threads: 1024,
            cubins: &[],
        };
        let error = check::<Layout>(&image).expect_err("arg_tokens has another type").to_string();
        assert!(error.contains("arg_tokens"), "{error}");
    }
}
