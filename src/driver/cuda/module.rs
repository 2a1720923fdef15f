//! Loading kernels: the cubin that fits the GPU, else the text through the driver's compiler.
//!
//! Everything is loaded when it is asked for, not at the first launch: since CUDA 12.2 modules load lazily, and loading
//! beside a kernel that waits for a peer can block. By the programming guide ("Lazy Loading") `cuModuleGetFunction` loads
//! the kernel.

use std::ffi::{c_int, c_void, CString};

use cudarc::driver::sys::{CUfunction, CUmodule};

use super::api::{self, Api};
use super::context::DeviceFacts;
use crate::driver::FunctionAttributes;
use crate::error::{Error, Result};
use crate::kernel::KernelImage;

/// Room for what the driver's compiler says.
const LOG_BYTES: usize = 16 << 10;

/// A loaded kernel.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    module: CUmodule,
    pub function: CUfunction,
    pub attributes: FunctionAttributes,
}

// SAFETY: modules and functions may be used from any thread; the pointers are never followed here.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

/// Loads `image` into the current context. `compile`: from its text, even where a cubin fits.
pub(super) fn load(api: &'static Api, facts: &DeviceFacts, image: &KernelImage, compile: bool) -> Result<Loaded> {
    let cubin = cubin(image, facts.compute).filter(|_| !compile);
    let module = match cubin.map(|code| load_cubin(api, image, code)).transpose()?.flatten() {
        Some(module) => module,
        None => load_text(api, image)?,
    };
    entry(api, facts, image, module).map_err(|error| {
        // SAFETY: loaded above, and nothing of it is in use.
        unsafe { (api.cuModuleUnload)(module) };
        error.of_driver(&format!("kernel {}", image.name))
    })
}

/// Finds the kernel in its module and sets its attributes.
fn entry(api: &'static Api, facts: &DeviceFacts, image: &KernelImage, module: CUmodule) -> Result<Loaded> {
    let name = CString::new(image.name).map_err(|_| Error::Bug("a kernel's name holds a NUL".into()))?;
    let mut function = std::ptr::null_mut();
    // SAFETY: the module is loaded, the name ends with NUL, one handle is written.
    api.check("cuModuleGetFunction", unsafe { (api.cuModuleGetFunction)(&mut function, module, name.as_ptr()) })?;
    let attribute = |which: c_int| {
        let mut value = 0;
        // SAFETY: the function is loaded; one integer is written.
        let code = unsafe { (api.cuFuncGetAttribute)(&mut value, which, function) };
        api.check("cuFuncGetAttribute", code).map(|()| u32::try_from(value).unwrap_or(0))
    };
    let static_shared = attribute(api::FUNCTION_SHARED_SIZE_BYTES)?;
    let spilled = attribute(api::FUNCTION_LOCAL_SIZE_BYTES)?;
    if spilled > 0 {
        // Local memory is sized at the first launch that needs more: that can wait for running kernels.
        tracing::warn!(kernel = image.name, bytes = spilled, "the driver's compiler used local memory");
    }
    let dynamic = facts.shared_bytes.saturating_sub(static_shared);
    for (which, value) in [(api::FUNCTION_MAX_DYNAMIC_SHARED_BYTES, dynamic), (api::FUNCTION_SHARED_CARVEOUT, 100)] {
        // SAFETY: the function is loaded.
        let code = unsafe { (api.cuFuncSetAttribute)(function, which, value as c_int) };
        api.check("cuFuncSetAttribute", code)?;
    }
    let attributes = FunctionAttributes {
        static_shared,
        max_threads: attribute(api::FUNCTION_MAX_THREADS_PER_BLOCK)?,
        argument_bytes: image.argument_bytes(),
    };
    Ok(Loaded { module, function, attributes })
}

/// The newest cubin that runs on a GPU of this compute capability: same major number, minor not above.
fn cubin(image: &KernelImage, (major, minor): (u32, u32)) -> Option<&'static [u8]> {
    let fits = |sm: u32| sm / 10 == major && sm % 10 <= minor;
    image.cubins.iter().filter(|&&(sm, _)| fits(sm)).max_by_key(|&&(sm, _)| sm).map(|&(_, code)| code)
}

/// `None` when the driver cannot run it, because it is older than the assembler or for another GPU: the text may do.
fn load_cubin(api: &'static Api, image: &KernelImage, code: &[u8]) -> Result<Option<CUmodule>> {
    let mut module = std::ptr::null_mut();
    // SAFETY: `code` is a whole cubin, which tells its own length.
    let result = unsafe {
        (api.cuModuleLoadDataEx)(&mut module, code.as_ptr().cast(), 0, std::ptr::null_mut(), std::ptr::null_mut())
    };
    if [api::INVALID_IMAGE, api::NO_BINARY_FOR_GPU, api::UNSUPPORTED_PTX_VERSION].contains(&result) {
        let why = api.error("cuModuleLoadDataEx", result);
        tracing::info!(kernel = image.name, %why, "the assembled kernel does not suit the driver: it compiles the text");
        return Ok(None);
    }
    let loaded = api.check("cuModuleLoadDataEx", result);
    loaded.map_err(|error| error.of_driver(&format!("kernel {}, assembled", image.name)))?;
    Ok(Some(module))
}

fn load_text(api: &'static Api, image: &KernelImage) -> Result<CUmodule> {
    let text = CString::new(image.text).map_err(|_| Error::Bug("a kernel's text holds a NUL".into()))?;
    let (mut info, mut error) = (vec![0_u8; LOG_BYTES], vec![0_u8; LOG_BYTES]);
    let mut options = [api::JIT_INFO_LOG, api::JIT_INFO_LOG_BYTES, api::JIT_ERROR_LOG, api::JIT_ERROR_LOG_BYTES];
    let mut values: [*mut c_void; 4] =
        [info.as_mut_ptr().cast(), LOG_BYTES as *mut c_void, error.as_mut_ptr().cast(), LOG_BYTES as *mut c_void];
    let mut module = std::ptr::null_mut();
    // SAFETY: the text ends with NUL; options and values have the number given, and the logs the sizes given.
    let code = unsafe {
        (api.cuModuleLoadDataEx)(
            &mut module,
            text.as_ptr().cast(),
            options.len() as u32,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    match api.check("cuModuleLoadDataEx", code) {
        Ok(()) => Ok(module),
        Err(Error::Driver { call, message }) => {
            let log = [error, info].map(|log| said(&log)).into_iter().filter(|log| !log.is_empty());
            let log = log.collect::<Vec<_>>().join("\n");
            Err(Error::Driver { call, message: format!("kernel {}: {message}\n{log}", image.name) })
        }
        Err(other) => Err(other),
    }
}

/// A log up to its NUL.
fn said(log: &[u8]) -> String {
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).trim().to_string()
}

impl Loaded {
    /// Unloads the module; nothing may run it.
    pub fn unload(self, api: &'static Api) -> Result<()> {
        // SAFETY: loaded by `load`, and its context is going.
        api.check("cuModuleUnload", unsafe { (api.cuModuleUnload)(self.module) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method: a made-up image with three cubins; the one for the same major number and the highest minor that the GPU
    /// has is taken, and none where no major number fits.
    #[test]
    fn the_cubin_that_fits_is_taken() {
        static CUBINS: &[(u32, &[u8])] = &[(90, b"a"), (100, b"b"), (103, b"c")];
        let image = KernelImage { cubins: CUBINS, ..*crate::kernel::KERNELS.first().expect("the build has kernels") };
        assert_eq!(cubin(&image, (9, 0)), Some(&b"a"[..]));
        assert_eq!(cubin(&image, (10, 0)), Some(&b"b"[..]));
        assert_eq!(cubin(&image, (10, 3)), Some(&b"c"[..]));
        assert_eq!(cubin(&image, (10, 1)), Some(&b"b"[..]));
        assert_eq!(cubin(&image, (8, 9)), None);
        assert_eq!(cubin(&image, (12, 0)), None);
    }
}
