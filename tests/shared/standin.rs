//! Finds the stand-in for the CUDA driver library, which the build puts beside the tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::skip::skipped;

/// A folder for driver libraries; it goes with its owner.
pub struct Folder(PathBuf);

impl Folder {
    /// Without a library.
    pub fn empty() -> Folder {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("warpferry-standin-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        Folder(folder)
    }

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

/// A folder with the stand-in under the driver library's name; `None`, which is printed, when there is none.
pub fn folder() -> Option<Folder> {
    let library = library()?;
    let folder = Folder::empty();
    std::fs::copy(&library, folder.path().join("libcuda.so.1")).expect("the stand-in can be copied");
    Some(folder)
}

/// The library: named, or beside this test or a folder above, where cargo puts it. `None`, which is printed, when there is
/// none: a binary that was carried elsewhere, or another system.
fn library() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("WARPFERRY_CUDA_STANDIN") {
        let path = PathBuf::from(named);
        assert!(path.is_file(), "WARPFERRY_CUDA_STANDIN={} is no file", path.display());
        return Some(path);
    }
    let own = std::env::current_exe().expect("a test has a program");
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("libcuda_emu.so")).find(|path| path.is_file());
    if found.is_none() {
        let required = std::env::var_os("WARPFERRY_REQUIRE_STANDIN").is_some_and(|value| value == "1");
        assert!(!required, "WARPFERRY_REQUIRE_STANDIN=1 and no libcuda_emu.so beside {}", own.display());
        let why = format_args!("no libcuda_emu.so (cargo build -p warpferry-cuda-emu) beside {}", own.display());
        skipped("stand-in for the CUDA driver library", why);
    }
    found
}
