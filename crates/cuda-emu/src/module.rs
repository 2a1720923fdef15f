//! Modules and their kernels.

use crate::result::{codes, fail, Outcome};
use crate::settings::settings;
use crate::state::State;
use std::collections::BTreeMap;
use warpferry_emu::{EntryInfo, ModuleId};

/// Dynamic and static shared memory that a kernel has without asking for more.
pub(crate) const DEFAULT_SHARED: u32 = 48 << 10;

/// What is loaded.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    pub modules: BTreeMap<u64, Module>,
    pub functions: BTreeMap<u64, Function>,
}

/// A module.
#[derive(Debug)]
pub(crate) struct Module {
    pub context: u64,
    pub id: ModuleId,
    /// Version of its text, as 82 for 8.2.
    pub ptx_version: u32,
}

/// A kernel.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub context: u64,
    pub module: u64,
    pub id: ModuleId,
    pub entry: String,
    pub info: EntryInfo,
    /// Version of its text, as 82 for 8.2.
    pub ptx_version: u32,
    /// Most dynamic shared memory of a launch.
    pub dynamic_shared: u32,
}

impl State {
    /// A module of this context.
    pub fn module(&self, module: u64, context: u64) -> Outcome<&Module> {
        match self.modules.modules.get(&module) {
            Some(found) if found.context == context => Ok(found),
            Some(_) => fail(codes::ERROR_INVALID_HANDLE, "the module belongs to another context"),
            None => fail(codes::ERROR_INVALID_HANDLE, format!("{module:#x} is no module")),
        }
    }

    /// A kernel of this context.
    pub fn function(&mut self, function: u64, context: u64) -> Outcome<&mut Function> {
        match self.modules.functions.get_mut(&function) {
            Some(found) if found.context == context => Ok(found),
            Some(_) => fail(codes::ERROR_INVALID_HANDLE, "the function belongs to another context"),
            None => fail(codes::ERROR_INVALID_HANDLE, format!("{function:#x} is no function of a loaded module")),
        }
    }

    /// Unloads a module, and with it its kernels.
    pub fn drop_module(&mut self, module: u64) {
        self.modules.functions.retain(|_, function| function.module != module);
        if let Some(gone) = self.modules.modules.remove(&module) {
            if let Err(error) = self.machine.unload_module(gone.id) {
                eprintln!("cuda-emu: unloading a module: {error}");
            }
        }
    }

    /// Unloads what a context has not.
    pub fn drop_modules(&mut self, context: u64) {
        let modules = &self.modules.modules;
        let owned: Vec<u64> = modules.iter().filter(|(_, m)| m.context == context).map(|(h, _)| *h).collect();
        for module in owned {
            self.drop_module(module);
        }
    }
}

/// Version and target that a text asks for, checked against the driver and the GPU. Gives the version as 82 for 8.2.
pub(crate) fn check_header(text: &str) -> Outcome<u32> {
    let after = |word: &str| {
        let line = text.lines().map(str::trim_start).find_map(|line| line.strip_prefix(word))?;
        line.split(|c: char| c.is_whitespace() || c == ',').find(|piece| !piece.is_empty())
    };
    let Some((major, minor)) = after(".version").and_then(|version| version.split_once('.')) else {
        return fail(codes::ERROR_INVALID_PTX, "the text has no .version");
    };
    let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else {
        return fail(codes::ERROR_INVALID_PTX, "the .version is not two numbers");
    };
    let settings = settings();
    let newest = newest_ptx(settings.version);
    if major * 10 + minor > newest {
        let why = format!(
            "PTX {major}.{minor} is newer than PTX {}.{} of driver {}",
            newest / 10,
            newest % 10,
            settings.version
        );
        return fail(codes::ERROR_UNSUPPORTED_PTX_VERSION, why);
    }
    let Some(target) = after(".target").and_then(|target| target.strip_prefix("sm_")) else {
        return fail(codes::ERROR_INVALID_PTX, "the text has no .target sm_");
    };
    let (digits, exact) = match target.strip_suffix(['a', 'f']) {
        Some(digits) => (digits, true),
        None => (target, false),
    };
    let fits = match digits.parse::<u32>() {
        Ok(wanted) if exact => wanted == settings.compute,
        Ok(wanted) => wanted <= settings.compute,
        Err(_) => false,
    };
    if !fits {
        let why = format!(".target sm_{target} does not run on sm_{}", settings.compute);
        return fail(codes::ERROR_INVALID_PTX, why);
    }
    Ok(major * 10 + minor)
}

/// The newest version of PTX that a driver's compiler knows, as 82 for 8.2.
fn newest_ptx(driver: i32) -> u32 {
    const VERSIONS: [(i32, u32); 14] = [
        (13000, 90),
        (12090, 88),
        (12080, 87),
        (12050, 85),
        (12040, 84),
        (12030, 83),
        (12020, 82),
        (12010, 81),
        (12000, 80),
        (11080, 78),
        (11070, 77),
        (11060, 76),
        (11050, 75),
        (11040, 74),
    ];
    VERSIONS.iter().find(|(from, _)| driver >= *from).map_or(70, |(_, version)| *version)
}
