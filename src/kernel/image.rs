//! What the build embeds of a kernel: its text, its parameters, what its contract promises.
//!
//! `build.rs` writes a table of these; nothing here knows what a kernel does.

/// One variant of a kernel, as the build embedded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelImage {
    /// Symbol of the entry and name of the variant, such as `dispatch_staged_mlx5`.
    pub name: &'static str,
    /// Kernel that the contract describes; variants share it.
    pub kernel: &'static str,
    /// Expanded PTX for a driver that compiles it.
    pub text: &'static str,
    /// The same with line markers, so that an error names the line of our source.
    pub marked_text: &'static str,
    /// Parameters in order.
    pub args: &'static [KernelArg],
    /// Static shared memory in bytes.
    pub static_shared: u32,
    /// Most threads of a CTA (`.maxntid` or `.reqntid`).
    pub max_threads: u32,
    /// Assembled code as (sm number, cubin), when ptxas was found at build time.
    pub cubins: &'static [(u32, &'static [u8])],
}

/// One parameter of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelArg {
    /// Name in the source, `arg_*`.
    pub name: &'static str,
    /// Type.
    pub ty: ArgType,
    /// Byte offset in the packed arguments.
    pub offset: u32,
    /// What the kernel does with the memory behind it; `None` for a value.
    pub pointer: Option<PointerContract>,
}

/// Type of a parameter, by size: PTX parameters have no finer meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgType {
    /// 32-bit word.
    U32,
    /// 64-bit word or address.
    U64,
}

impl ArgType {
    /// Bytes of a value.
    pub const fn bytes(self) -> u32 {
        match self {
            ArgType::U32 => 4,
            ArgType::U64 => 8,
        }
    }
}

/// What a contract says about a pointer argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointerContract {
    /// The kernel reads through it.
    pub read: bool,
    /// The kernel writes through it.
    pub write: bool,
    /// Who else may touch the memory during the launch.
    pub reach: Reach,
    /// Alignment in bytes that the kernel relies on.
    pub align: u32,
    /// Size as the contract spells it, such as `4 * arg_tokens * topk`; `None` when the contract names none.
    pub bytes: Option<&'static str>,
}

/// Who may touch the memory behind a pointer while the kernel runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This GPU only.
    Gpu,
    /// Other GPUs and NICs too.
    Sys,
    /// The host too: host-mapped memory.
    Host,
}

impl KernelImage {
    /// Bytes of the packed arguments.
    pub fn argument_bytes(&self) -> u32 {
        self.args.last().map_or(0, |arg| arg.offset + arg.ty.bytes())
    }
}
