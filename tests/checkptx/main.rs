//! Every kernel and every macro of the kernels against its reference: on the emulator, and on a GPU where there is one.
//!
//! Method: a check has cases (a name and numbers) and runs one on a [`rig::Rig`]: buffers at every alignment that the
//! contract allows, guard zones around them, outputs and shared memory poisoned, results compared byte by byte with
//! scalar Rust. Check kernels (`ptx/checks`) use a macro as the product's kernels do; `kernels` runs those themselves.
//! `mutants` damages each on purpose and demands that a check sees it. A failure prints one line to paste.
//!
//! The binary needs neither source tree nor cargo. `WARPFERRY_BACKEND` chooses where it runs, `WARPFERRY_CASES` how
//! much, `WARPFERRY_CHECK` one case to replay.

mod backend;
#[allow(dead_code)] // the worlds' tests use more of it
#[path = "../worlds/case.rs"]
mod case;
mod cases;
mod check;
#[allow(dead_code)]
#[path = "../worlds/damage.rs"]
mod damage;
#[allow(dead_code)]
#[path = "../worlds/draw.rs"]
mod draw;
mod draws;
#[allow(dead_code)]
#[path = "../worlds/lanes.rs"]
mod lanes;
#[allow(dead_code)]
#[path = "../worlds/play.rs"]
mod play;
mod queues;
#[path = "../worlds/rest.rs"]
mod rest;
mod rig;
#[path = "../shared/replay.rs"]
mod said;
#[path = "../shared/skip.rs"]
mod skip;
#[cfg(feature = "cuda")]
#[path = "../shared/standin.rs"]
mod standin;
#[allow(dead_code)]
#[path = "../worlds/trouble.rs"]
mod trouble;

mod addresses;
mod bulk;
mod bytes;
mod claims;
mod completions;
mod eight;
mod fabric;
mod kernels;
mod pages;
mod quant;
mod ring;
mod room;
mod stop;

mod mutants;
mod replay;
#[cfg(feature = "cuda")]
mod stands_in;

use warpferry::kernel::KernelImage;

/// Kernels that only these tests launch.
static CHECKS: &[KernelImage] = include!(concat!(env!("OUT_DIR"), "/checks.rs"));

/// All checks.
static ALL: &[&check::Check] = &[
    &bulk::COPY,
    &bulk::EDIT,
    &ring::RING,
    &claims::CLAIMS,
    &pages::MOVER,
    &pages::SUMMER,
    &eight::EIGHT,
    &quant::E4M3,
    &quant::E5M2,
    &bytes::BITS,
    &addresses::MLX5,
    &addresses::LOOPBACK,
    &fabric::POST,
    &fabric::PUT_MLX5,
    &fabric::PUT_LOOPBACK,
    &completions::COMPLETIONS,
    &room::ROOM,
    &stop::GIVE_UP,
    &stop::POISON_SHARED,
    &kernels::LAYOUT,
    &kernels::WORLD,
];
