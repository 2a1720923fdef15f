//! The vendor's GEMM, found at run time: a computation as frameworks run it.
//!
//! The one place of the benches with `unsafe`: four functions of a C library, opened where there is one. Signatures are
//! those of cublas_v2.h and cublas_api.h since CUDA 11.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use half::bf16;
use libloading::Library;
use warpferry::mem::Buffer;

use super::gemm::Computation;
use super::lab::{Lab, Raw};
use super::pattern::pattern;
use super::record::Failure;

/// Names of the library, newest first.
const NAMES: [&str; 3] = ["libcublas.so.13", "libcublas.so.12", "libcublas.so"];
/// `CUBLAS_OP_N`.
const AS_IT_IS: c_int = 0;
/// `CUDA_R_16BF`.
const BF16: c_int = 14;
/// `CUBLAS_COMPUTE_32F`.
const COMPUTE_F32: c_int = 68;
/// `CUBLAS_GEMM_DEFAULT`.
const ALGORITHM_DEFAULT: c_int = -1;
/// Elements of C that are checked.
const CHECKED: u32 = 64;

type Create = unsafe extern "C" fn(*mut *mut c_void) -> c_int;
type Destroy = unsafe extern "C" fn(*mut c_void) -> c_int;
type SetStream = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;
type SetSms = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;
type GemmEx = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    *const c_void,
    *const c_void,
    c_int,
    c_int,
    *const c_void,
    c_int,
    c_int,
    *const c_void,
    *mut c_void,
    c_int,
    c_int,
    c_int,
    c_int,
) -> c_int;

/// Functions that were found; they are valid as long as the library is open.
#[derive(Debug)]
struct Functions {
    destroy: Destroy,
    set_sms: SetSms,
    gemm: GemmEx,
    _library: Library,
}

/// A GEMM in bf16 on a lab's stream: square matrices, column by column.
#[derive(Debug)]
pub struct Cublas {
    functions: Functions,
    /// `cublasHandle_t`: a number, so that the computation may go to another thread with its lab.
    handle: usize,
    context: usize,
    side: u32,
    a: Buffer,
    b: Buffer,
    c: Buffer,
}

fn element(index: u32, seed: u32) -> bf16 {
    bf16::from_f32((pattern(index, seed) % 7) as f32 - 3.0)
}

fn check_status(call: &str, status: c_int) -> Result<(), Failure> {
    match status {
        0 => Ok(()),
        status => Err(Failure::wrong(call, &format!("status {status}"))),
    }
}

/// Makes the context that the library is to use this thread's own.
fn enter(context: usize) -> Result<(), Failure> {
    // SAFETY: the context is that of the lab's driver, which is alive as long as the lab.
    let entered = unsafe { cudarc::driver::result::ctx::set_current(context as cudarc::driver::sys::CUcontext) };
    entered.map_err(|error| Failure::wrong("cuCtxSetCurrent", &format!("{error:?}")))
}

impl Cublas {
    /// Opens the library; the reason, where there is none.
    pub fn new(lab: &Lab, side: u32) -> Result<Cublas, Failure> {
        let Some(Raw { context, stream }) = lab.raw() else {
            return Err(Failure::wrong("cublas", "needs a GPU"));
        };
        // SAFETY: the library's initialisers have no requirements; it is NVIDIA's by its name.
        let opened = NAMES.iter().find_map(|name| unsafe { Library::new(*name) }.ok());
        let library =
            opened.ok_or_else(|| Failure::wrong("cublas", &format!("none of {} can be opened", NAMES.join(", "))))?;
        let missing = |error: libloading::Error| Failure::wrong("cublas", &error.to_string());
        // SAFETY: the types are the functions' own, by cublas_v2.h; they are called while the library is open.
        let (create, destroy, set_stream, set_sms, gemm) = unsafe {
            (
                *library.get::<Create>(b"cublasCreate_v2\0").map_err(missing)?,
                *library.get::<Destroy>(b"cublasDestroy_v2\0").map_err(missing)?,
                *library.get::<SetStream>(b"cublasSetStream_v2\0").map_err(missing)?,
                *library.get::<SetSms>(b"cublasSetSmCountTarget\0").map_err(missing)?,
                *library.get::<GemmEx>(b"cublasGemmEx\0").map_err(missing)?,
            )
        };
        enter(context)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: one pointer is written.
        check_status("cublasCreate_v2", unsafe { create(&mut handle) })?;
        let matrix =
            |seed| -> Vec<u8> { (0..side * side).flat_map(|index| element(index, seed).to_le_bytes()).collect() };
        let cublas = Cublas {
            functions: Functions { destroy, set_sms, gemm, _library: library },
            handle: handle as usize,
            context,
            side,
            a: lab.alloc_with(&matrix(1))?,
            b: lab.alloc_with(&matrix(2))?,
            c: lab.alloc(2 * u64::from(side * side))?,
        };
        // SAFETY: handle and stream are alive and of one context.
        check_status("cublasSetStream_v2", unsafe { set_stream(handle, stream as *mut c_void) })?;
        Ok(cublas)
    }
}

impl Computation for Cublas {
    fn name(&self) -> String {
        format!("cublas_bf16_{0}x{0}x{0}", self.side)
    }

    fn operations(&self) -> f64 {
        2.0 * f64::from(self.side).powi(3)
    }

    fn launch(&self, _lab: &Lab, sms: u32) -> Result<(), Failure> {
        enter(self.context)?;
        let (handle, side) = (self.handle as *mut c_void, self.side as c_int);
        let (one, zero) = (1.0_f32, 0.0_f32);
        let [a, b, c] = [&self.a, &self.b, &self.c].map(|matrix| matrix.ptr().address() as *mut c_void);
        // SAFETY: the handle is alive; a number is passed.
        check_status("cublasSetSmCountTarget", unsafe { (self.functions.set_sms)(handle, sms as c_int) })?;
        let (scale, keep) = (std::ptr::from_ref(&one).cast(), std::ptr::from_ref(&zero).cast());
        // SAFETY: three matrices of side * side bf16 in device memory that `self` owns; factors are read in the call.
        let status = unsafe {
            (self.functions.gemm)(
                handle,
                AS_IT_IS,
                AS_IT_IS,
                side,
                side,
                side,
                scale,
                a,
                BF16,
                side,
                b,
                BF16,
                side,
                keep,
                c,
                BF16,
                side,
                COMPUTE_F32,
                ALGORITHM_DEFAULT,
            )
        };
        check_status("cublasGemmEx", status)
    }

    fn spoil(&self, lab: &Lab) -> Result<(), Failure> {
        Ok(lab.driver().fill(self.c.ptr(), 0xff, self.c.bytes(), lab.timer().stream())?)
    }

    fn check(&self, lab: &Lab) -> Result<(), Failure> {
        let every = (self.side * self.side / CHECKED) | 1;
        for index in (0..self.side * self.side).step_by(every as usize) {
            let (row, column) = (index % self.side, index / self.side);
            let product =
                |k: u32| element(row + k * self.side, 1).to_f32() * element(k + column * self.side, 2).to_f32();
            let expected = bf16::from_f32((0..self.side).map(product).sum());
            let bytes = lab.read(self.c.ptr().offset(2 * u64::from(index)), 2)?;
            let found = bf16::from_le_bytes([bytes[0], bytes[1]]);
            if found != expected {
                let why = format!("C[{row}][{column}] is {found}, expected {expected}");
                return Err(Failure::wrong("cublas", &why));
            }
        }
        Ok(())
    }
}

impl Drop for Cublas {
    fn drop(&mut self) {
        if enter(self.context).is_ok() {
            // SAFETY: the handle was made by this library and is not used any more.
            unsafe { (self.functions.destroy)(self.handle as *mut c_void) };
        }
    }
}
