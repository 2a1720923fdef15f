//! Instructions against plain Rust: every test runs a few lines of PTX on 32 lanes with drawn operands and compares
//! each lane with a value computed another way.

mod clusters;
mod control;
mod convert;
mod coverage;
mod declarations;
mod exact;
mod float;
mod integer;
mod logic;
mod matrices;
mod memory;
pub mod programs;
mod reductions;
#[path = "../shared/skip.rs"]
mod skip;
mod video;
mod warp;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use warpferry_emu::{Launch, LoadError, Machine, MachineConfig, Schedule, StreamId};

/// Draws numbers; the seed is in every failure message by way of the test's name and constants.
pub struct Draw(pub u64);

impl Draw {
    /// Any 64 bits, with extremes more often than chance has them.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        match z % 11 {
            0 => 0,
            1 => u64::MAX,
            2 => 1,
            3 => 0x8000_0000_8000_8000,
            4 => 0x7fff_ffff_7fff_7fff,
            5 => z >> 59,
            _ => z,
        }
    }

    /// One number for each lane.
    pub fn lanes(&mut self) -> [u64; 32] {
        std::array::from_fn(|_| self.number())
    }
}

/// A kernel around `body`. Inputs are in the 64-bit registers `a`, `b`, `c` and their low halves `a32`, `b32`, `c32`
/// and quarters `a16`, `b16`, `c16`; as predicates `pa`, `pb` (lowest bit); the result is taken from `d` (or `d32`,
/// `d16` when the body names them, zero-extended).
pub fn kernel(body: &str, result: &str) -> String {
    let take = match result {
        "d" => "st.global.u64 [out], d;".to_string(),
        "d32" => "cvt.u64.u32 d, d32; st.global.u64 [out], d;".to_string(),
        "d16" => "cvt.u64.u16 d, d16; st.global.u64 [out], d;".to_string(),
        "p" => "selp.u64 d, 1, 0, p; st.global.u64 [out], d;".to_string(),
        other => panic!("no result {other}"),
    };
    format!(
        ".version 8.6\n.target sm_90\n.address_size 64\n
        .visible .entry test(.param .u64 arg_in, .param .u64 arg_out) {{
            .reg .b64 in, out, d, a, b, c, e;
            .reg .b32 d32, a32, b32, c32, e32, lane;
            .reg .b16 d16, a16, b16, c16;
            .reg .pred p, q, pa, pb;
            ld.param.u64 in, [arg_in]; ld.param.u64 out, [arg_out];
            mov.u32 lane, %laneid;
            mad.wide.u32 in, lane, 8, in; mad.wide.u32 out, lane, 8, out;
            ld.global.u64 a, [in]; ld.global.u64 b, [in+256]; ld.global.u64 c, [in+512];
            ld.global.u32 a32, [in]; ld.global.u32 b32, [in+256]; ld.global.u32 c32, [in+512];
            ld.global.u16 a16, [in]; ld.global.u16 b16, [in+256]; ld.global.u16 c16, [in+512];
            and.b32 e32, a32, 1; setp.ne.u32 pa, e32, 0;
            and.b32 e32, b32, 1; setp.ne.u32 pb, e32, 0;
            mov.b64 d, 0; mov.b32 d32, 0; mov.b16 d16, 0; mov.b64 e, 0; setp.ne.u32 p, 0, 0; mov.pred q, p;
            {body}
            {take}
            ret;
        }}"
    )
}

/// The assembler, when there is one: `PTXAS`, or `tools/cuda/bin`. `PTXAS=none` is none.
fn ptxas() -> Option<PathBuf> {
    let named = std::env::var_os("PTXAS").map(PathBuf::from);
    if named.as_deref() == Some(Path::new("none")) {
        return None;
    }
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/cuda/bin/ptxas");
    named.into_iter().chain([local]).find(|place| place.is_file())
}

/// A test's program must be one that the assembler takes. Without one this says so once and checks nothing.
pub fn must_assemble(text: &str) {
    static SAID: std::sync::Once = std::sync::Once::new();
    let Some(ptxas) = ptxas() else {
        SAID.call_once(|| skip::skipped("test programs are not assembled", "no PTXAS, no tools/cuda/bin"));
        return;
    };
    let target = if text.contains("sm_90a") { "sm_90a" } else { "sm_90" };
    let mut child = Command::new(ptxas)
        .args(["-O0", "-arch", target, "-", "-o", "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ptxas starts");
    child.stdin.take().expect("stdin is piped").write_all(text.as_bytes()).expect("ptxas reads its input");
    let output = child.wait_with_output().expect("ptxas ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{text}");
}

/// Loads a kernel, or tells why it cannot be loaded.
pub fn load(body: &str, result: &str) -> Result<(), LoadError> {
    let mut machine = Machine::new(MachineConfig::new(1, 1)).expect("a valid machine");
    machine.load_module("test.ptx", &kernel(body, result)).map(drop)
}

/// Runs `body` on 32 lanes.
pub fn run(body: &str, result: &str, inputs: [[u64; 32]; 3]) -> [u64; 32] {
    run_scheduled(body, result, inputs, Schedule::RoundRobin)
}

/// Runs `body` on 32 lanes with a schedule.
pub fn run_scheduled(body: &str, result: &str, inputs: [[u64; 32]; 3], schedule: Schedule) -> [u64; 32] {
    let config = MachineConfig { schedule, ..MachineConfig::new(1, 1) };
    let mut machine = Machine::new(config).expect("a valid machine");
    let text = kernel(body, result);
    let module = machine.load_module("test.ptx", &text).unwrap_or_else(|e| panic!("{e}\n{body}"));
    let (input, output) = (machine.alloc(0, 768).unwrap(), machine.alloc(0, 256).unwrap());
    let bytes: Vec<u8> = inputs.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    machine.write(input, &bytes).unwrap();
    let launch = machine
        .launch(Launch {
            gpu: 0,
            stream: StreamId::DEFAULT,
            module,
            entry: "test".into(),
            grid: [1, 1, 1],
            block: [32, 1, 1],
            shared_bytes: 0,
            args: [input, output].iter().flat_map(|v| v.to_le_bytes()).collect(),
            access: Vec::new(),
        })
        .unwrap();
    let outcome = machine.run(|m| m.launch_done(launch).unwrap_or(true)).unwrap_or_else(|f| panic!("{f}\n{body}"));
    assert!(machine.launch_done(launch).unwrap(), "{outcome:?}\n{body}");
    let mut back = [0; 256];
    machine.read(output, &mut back).unwrap();
    std::array::from_fn(|i| u64::from_le_bytes(back[8 * i..8 * i + 8].try_into().unwrap()))
}

/// Compares `body` with `expected` lane by lane, over several draws, converged and under a varying mask.
pub fn check(body: &str, result: &str, expected: impl Fn(u64, u64, u64) -> u64) {
    must_assemble(&kernel(body, result));
    let mut draw = Draw(0xc0ffee ^ body.len() as u64);
    for round in 0..6 {
        let [a, b, c] = [draw.lanes(), draw.lanes(), draw.lanes()];
        let got = run(body, result, [a, b, c]);
        for lane in 0..32 {
            let want = expected(a[lane], b[lane], c[lane]);
            assert_eq!(
                got[lane], want,
                "round {round} lane {lane}: {body}\n a {:#x} b {:#x} c {:#x}: got {:#x}, want {want:#x}",
                a[lane], b[lane], c[lane], got[lane]
            );
        }
        // The same under a guard: lanes outside keep 0.
        if !body.contains('@') && !body.contains('{') && body.matches(';').count() == 1 {
            let got = run(&format!("@pa {body}"), result, [a, b, c]);
            for lane in 0..32 {
                let want = if a[lane] & 1 == 1 { expected(a[lane], b[lane], c[lane]) } else { 0 };
                assert_eq!(got[lane], want, "guarded, lane {lane}: {body} a {:#x} b {:#x}", a[lane], b[lane]);
            }
        }
    }
}
