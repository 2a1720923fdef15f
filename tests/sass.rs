//! Reads the machine code that ptxas made of every kernel: no local memory, bulk moves where rows move, and a
//! system-scope fence for each that the source spells.
//!
//! Needs nvdisasm (and ptxas for the test of the test): `NVDISASM`, `CUDA_HOME/bin`, `PATH`, or `tools/cuda/bin` as
//! `scripts/fetch-ptxas.sh` leaves it. Without them, or in a build without ptxas, a test says that it was skipped;
//! with `WARPFERRY_REQUIRE_PTXAS=1` that is a failure.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "shared/skip.rs"]
mod skip;

use warpferry::kernel::{KernelImage, KERNELS};
use warpferry_ptx::ast::Instruction;

/// Opcodes with their modifiers, counted.
type Opcodes = BTreeMap<String, usize>;

#[test]
fn machine_code_keeps_what_the_sources_say() {
    let Some(nvdisasm) = tool("NVDISASM", "nvdisasm") else { return skipped("nvdisasm is not here") };
    if KERNELS.iter().all(|kernel| kernel.cubins.is_empty()) {
        return skipped("this build had no ptxas, so there is no machine code");
    }
    let folder = scratch("kernels");
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let (nvdisasm, folder) = (&nvdisasm, &folder);
        let check = |kernel| scope.spawn(move || wrong_in(kernel, nvdisasm, folder));
        let checks: Vec<_> = KERNELS.iter().map(check).collect();
        checks.into_iter().flat_map(|check| check.join().expect("the check of a kernel does not panic")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Differences between a kernel's source and its machine code for any architecture.
fn wrong_in(kernel: &KernelImage, nvdisasm: &Path, folder: &Path) -> Vec<String> {
    let source = promised(kernel.name, kernel.marked_text);
    if kernel.cubins.is_empty() {
        return vec![format!("{} has no machine code, other kernels have", kernel.name)];
    }
    let mut wrong = Vec::new();
    for (sm, cubin) in kernel.cubins {
        let path = folder.join(format!("{}.sm_{sm}.cubin", kernel.name));
        fs::write(&path, cubin).expect("the scratch folder can be written");
        let machine = opcodes(&disassemble(nvdisasm, &path));
        let found = differences(&source, &machine, moves_rows(kernel.name));
        wrong.extend(found.into_iter().map(|what| format!("{} for sm_{sm}: {what}", kernel.name)));
    }
    wrong
}

/// The check itself: a kernel with an array in local memory and no bulk move must be found wanting.
#[test]
fn local_memory_and_plain_moves_are_noticed() {
    let (Some(ptxas), Some(nvdisasm)) = (tool("PTXAS", "ptxas"), tool("NVDISASM", "nvdisasm")) else {
        return skipped("ptxas or nvdisasm is not here");
    };
    let text = "
        .version 8.2
        .target sm_90
        .address_size 64
        .visible .entry spill(.param .u64 arg_out) .maxntid 32 {
            .reg .u64 out, at;
            .reg .u32 index;
            .local .align 8 .b64 array[64];
            ld.param.u64 out, [arg_out];
            ld.global.u32 index, [out];
            mov.u64 at, array;
            mad.wide.u32 at, index, 8, at;
            st.local.u64 [at], out;
            ld.local.u64 at, [array + 8];
            st.global.u64 [out], at;
            ret;
        }";
    let folder = scratch("spill");
    let (source, cubin) = (folder.join("spill.ptx"), folder.join("spill.cubin"));
    fs::write(&source, text).expect("the scratch folder can be written");
    let made = Command::new(ptxas).arg("-arch=sm_90").arg("-o").arg(&cubin).arg(&source).output().expect("ptxas runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let machine = opcodes(&disassemble(&nvdisasm, &cubin));
    let mut wanted = promised("spill", text);
    wanted.fences = 1;
    let found = differences(&wanted, &machine, true).join("\n");
    for part in ["LDL", "STL", "MEMBAR", "UBLKCP.S.G", "UBLKCP.G.S"] {
        assert!(found.contains(part), "{part} is missing in: {found}");
    }
}

/// What a source spells that machine code must show.
#[derive(Debug, Default)]
struct Promised {
    /// Fences and releases at system scope.
    fences: usize,
    /// Fences between generic and asynchronous accesses.
    proxy_fences: usize,
    /// Bulk loads into shared memory, bulk stores out of it.
    bulk_loads: usize,
    bulk_stores: usize,
    /// Doorbells.
    mmio_stores: usize,
}

fn promised(name: &str, text: &str) -> Promised {
    let module = warpferry_ptx::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
    let body = module.functions.iter().find_map(|function| function.body.as_ref()).expect("a kernel has a body");
    let count = |matches: &dyn Fn(&Instruction) -> bool| body.code.iter().filter(|code| matches(code)).count();
    let bulk = |code: &Instruction, to: &str| {
        let at = code.modifiers.iter().position(|modifier| modifier == "bulk");
        code.opcode == "cp" && at.is_some_and(|at| code.modifiers.get(at + 1).is_some_and(|next| next.starts_with(to)))
    };
    Promised {
        fences: count(&|code| {
            let orders = code.opcode == "fence" && !code.has("proxy");
            let releases = code.has("release") || code.has("acq_rel");
            code.has("sys") && (orders || (releases && ["st", "red", "atom"].contains(&code.opcode.as_str())))
        }),
        proxy_fences: count(&|code| code.opcode == "fence" && code.has("proxy")),
        bulk_loads: count(&|code| bulk(code, "shared")),
        bulk_stores: count(&|code| bulk(code, "global")),
        mmio_stores: count(&|code| code.opcode == "st" && code.has("mmio")),
    }
}

/// Dispatch and combine move rows; the other kernels only counts.
fn moves_rows(name: &str) -> bool {
    name.starts_with("dispatch") || name.starts_with("combine")
}

fn differences(source: &Promised, machine: &Opcodes, moves_rows: bool) -> Vec<String> {
    let count = |matches: &dyn Fn(&str) -> bool| -> usize {
        machine.iter().filter(|(opcode, _)| matches(opcode)).map(|(_, count)| count).sum()
    };
    let mut found: Vec<String> = machine
        .iter()
        .filter(|(opcode, _)| opcode.starts_with("LDL") || opcode.starts_with("STL"))
        .map(|(opcode, count)| format!("{count} x {opcode}: local memory"))
        .collect();
    // The assembler may copy code, never drop what orders memory: so at least as many as the source spells.
    let mut at_least = |what: &str, need: usize, have: usize| {
        if have < need {
            found.push(format!("{have} x {what}, the source spells {need}"));
        }
    };
    at_least("MEMBAR.*.SYS", source.fences, count(&|op| op.starts_with("MEMBAR.") && op.ends_with(".SYS")));
    at_least("FENCE.VIEW.ASYNC", source.proxy_fences, count(&|op| op.starts_with("FENCE.VIEW.ASYNC")));
    let one_if_rows = usize::from(moves_rows);
    at_least("UBLKCP.S.G", source.bulk_loads.max(one_if_rows), count(&|op| op.starts_with("UBLKCP.S.G")));
    at_least("UBLKCP.G.S", source.bulk_stores.max(one_if_rows), count(&|op| op.starts_with("UBLKCP.G.S")));
    at_least("MMIO.SYS store", source.mmio_stores, count(&|op| op.starts_with("ST") && op.ends_with(".MMIO.SYS")));
    found
}

/// Opcodes of a listing: lines such as `/*0130*/  @P0 UBLKCP.S.G [UR8], [UR6], UR10 ;`.
fn opcodes(listing: &str) -> Opcodes {
    let mut counted = Opcodes::new();
    for line in listing.lines() {
        let Some(rest) = line.trim_start().strip_prefix("/*").and_then(|rest| rest.split_once("*/")) else { continue };
        let mut words = rest.1.split_whitespace();
        let opcode = words.find(|word| !word.starts_with('@') && !word.starts_with('{'));
        if let Some(opcode) = opcode.filter(|opcode| opcode.starts_with(|first: char| first.is_ascii_uppercase())) {
            *counted.entry(opcode.trim_end_matches(';').to_string()).or_default() += 1;
        }
    }
    assert!(!counted.is_empty(), "no instruction in the listing:\n{listing}");
    counted
}

fn disassemble(nvdisasm: &Path, cubin: &Path) -> String {
    let output = Command::new(nvdisasm).arg("-c").arg(cubin).output().expect("nvdisasm runs");
    assert!(output.status.success(), "{}: {}", cubin.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a listing is ASCII")
}

fn tool(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = env::var_os(variable).filter(|path| !path.is_empty()) {
        return Some(PathBuf::from(path)).filter(|path| path.is_file());
    }
    let cuda = env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin"));
    let path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/cuda/bin");
    cuda.into_iter().chain(path).chain([own]).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Says so, unless the environment forbids it.
fn skipped(why: &str) {
    assert!(env::var_os("WARPFERRY_REQUIRE_PTXAS").is_none(), "not to be skipped here: {why}");
    skip::skipped("sass", why);
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sass").join(name);
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}
