//! A stand-in for the CUDA driver library whose GPUs are warpferry's emulator.
//!
//! Built as a shared library and found as `libcuda.so.1`, it lets a program that uses the CUDA driver API run on a
//! machine without a GPU: the kernels' PTX text runs on the CPU. It is for tests and as strict as it can be: a misuse
//! gives the error that the CUDA driver would give, or one where a GPU would go on with garbage.
//!
//! ```text
//! cu* functions (api/) -> State: handles, contexts, memory -> warpferry_emu::Machine
//!                                                                  ^ driven by a thread of its own (engine.rs)
//! ```
//!
//! What it is: all GPUs of one node at one address space, streams, events, copies, host memory that kernels and host
//! threads use at the same time, peer access, modules from PTX text, hardware queues, graphs that are captured from
//! streams, sticky faults.
//!
//! What it is not: fast, or a measure of anything; a compiler (cubins are refused); complete (a function that is not
//! here is missing in the library, which is a case of its own for a program that loads it at run time).
//!
//! Kernels run in slices on one thread. While one can run, the GPU's clock goes on by instructions; while none can, it
//! follows the real clock, so a kernel that gives up after some milliseconds of waiting does so after about as many.
//!
//! | environment | meaning | default |
//! | --- | --- | --- |
//! | `WARPFERRY_CUDA_EMU_DEVICES` | number of GPUs, 0 to 64 | 1 |
//! | `WARPFERRY_CUDA_EMU_SMS` | SMs of each | 132 |
//! | `WARPFERRY_CUDA_EMU_COMPUTE` | compute capability | 90 |
//! | `WARPFERRY_CUDA_EMU_VERSION` | version of the driver | 12080 |
//! | `WARPFERRY_CUDA_EMU_PEERS` | 0 forbids peer access | 1 |
//! | `WARPFERRY_CUDA_EMU_CHECKS` | `bounds` does not look for uninitialized memory and misalignment | `all` |
//! | `WARPFERRY_CUDA_EMU_SEED` | draws the schedule from a seed | round robin |
//! | `WARPFERRY_CUDA_EMU_STRICT_SYNC` | 1: taking memory and loading modules wait for all work of the GPU | 0 |
//! | `WARPFERRY_CUDA_EMU_HOLD` | holds copies, fills and words back, by a seed: up to 3 ms at the head of a stream | |
//! | `WARPFERRY_CUDA_EMU_CUBIN` | what loading machine code gives: 209, not for this GPU, or 200, not valid | 209 |
//! | `WARPFERRY_CUDA_EMU_LEAKS` | 1: says on stderr at the end of the process what was never ended | 0 |
//! | `WARPFERRY_CUDA_EMU_FAIL` | `cuLaunchKernel:719:3`: the third call gives 719; several with commas | |
//! | `WARPFERRY_CUDA_EMU_LOG` | 1: says on stderr why a call failed, and which copies lack peer access | 0 |
//! | `CUDA_DEVICE_MAX_CONNECTIONS` | hardware queues of each GPU, 1 to 32 | 8 |
//!
//! A fault of a kernel is told on stderr always, with file, line and thread.

// The contract of every function is that of the CUDA driver API.
#![allow(clippy::missing_safety_doc)]

mod api;
mod call;
mod engine;
mod graph;
mod hold;
mod left;
mod memory;
mod module;
mod result;
mod settings;
mod state;
mod stream;
mod types;

pub use api::*;
pub use result::codes;
pub use types::*;
