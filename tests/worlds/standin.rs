//! Finds the stand-in for the CUDA driver library, which the build puts beside the tests.

use std::path::{Path, PathBuf};

use crate::skip::skipped;

/// A folder with the stand-in under the driver library's name; it goes with its owner.
pub struct Folder(PathBuf);

impl Folder {
    /// For `LD_LIBRARY_PATH`.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the system's folder for such things is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `None` when there is no stand-in, which is printed: a binary that was carried elsewhere, or another system.
pub fn folder() -> Option<Folder> {
    let own = std::env::current_exe().expect("a test has a program");
    let named = std::env::var_os("WARPFERRY_CUDA_STANDIN").map(PathBuf::from);
    let beside = own.parent().map(|folder| folder.join("libcuda_emu.so"));
    let Some(library) = named.or(beside).filter(|path| path.is_file()) else {
        let required = std::env::var_os("WARPFERRY_REQUIRE_STANDIN").is_some_and(|value| value == "1");
        assert!(!required, "WARPFERRY_REQUIRE_STANDIN=1 and no libcuda_emu.so beside {}", own.display());
        skipped("stand-in for the CUDA driver library", format_args!("no libcuda_emu.so beside {}", own.display()));
        return None;
    };
    let folder = std::env::temp_dir().join(format!("warpferry-standin-{}-{:p}", std::process::id(), &library));
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    std::fs::copy(&library, folder.join("libcuda.so.1")).expect("the stand-in can be copied");
    Some(Folder(folder))
}
