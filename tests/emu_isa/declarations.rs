//! What modules declare beside plain variables, vectors of registers as parameters, and special registers as a whole.

use crate::check;
use crate::programs::run_module;
use warpferry_emu::{Checks, Machine, MachineConfig};

const HEADER: &str = ".version 8.6\n.target sm_90a\n.address_size 64\n";

/// Why a module cannot be loaded, or nothing. Without the checks that a kernel of one's own has to pass: of several
/// entries only the good ones are kept.
fn refusal(text: &str) -> Option<String> {
    let config = MachineConfig { checks: Checks::NONE, ..MachineConfig::new(1, 1) };
    let mut machine = Machine::new(config).expect("a valid machine");
    machine.load_module("test.ptx", text).err().map(|error| error.to_string())
}

#[test]
fn special_registers_as_vectors() {
    let text = ".visible .entry k(.param .u64 buffer) {
        .reg .u64 p, q; .reg .v4 .u32 v; .reg .u32 r<4>; .reg .v4 .u16 h; .reg .u32 low;
        ld.param.u64 p, [buffer];
        mov.v4.u32 v, %ntid; st.global.v4.u32 [p], v;
        mov.v4.u32 {r0, _, r2, r3}, %nctaid; st.global.v4.u32 [p+16], {r0, r0, r2, r3};
        mov.v4.u16 h, %ntid; cvt.u32.u16 low, h.x; st.global.u32 [p+32], low;
        mov.u32 low, %tid.w; st.global.u32 [p+36], low; mov.u32 low, %ntid.r; st.global.u32 [p+40], low;
        mov.u32 low, %ntid.b; st.global.u32 [p+44], low;
        mov.v4.b32 v, %ctaid; st.global.v2.u32 [p+48], {v.x, v.w}; ret;
    }";
    let one = |low: u64, high: u64| low | high << 32;
    let got = run_module(text, 5, &[7; 7]);
    assert_eq!(got, [one(5, 1), one(1, 0), one(1, 1), one(1, 0), one(5, 0), one(5, 1), one(0, 0)]);
}

#[test]
fn sizes_of_shared_memory() {
    let text = ".visible .entry k(.param .u64 buffer) {
        .shared .b8 room[200];
        .reg .u64 p; .reg .u32 a, b;
        ld.param.u64 p, [buffer];
        st.shared.u32 [room], 1;
        mov.u32 a, %total_smem_size; mov.u32 b, %aggr_smem_size; st.global.v2.u32 [p], {a, b};
        mov.u32 a, %reserved_smem_offset_begin; mov.u32 b, %reserved_smem_offset_end; st.global.v2.u32 [p+8], {a, b};
        mov.u32 a, %reserved_smem_offset_0; mov.u32 b, %reserved_smem_offset_cap; st.global.v2.u32 [p+16], {a, b};
        mov.u32 a, room; st.global.u32 [p+24], a;
        mov.u32 a, %gridid; st.global.u32 [p+28], 0; ret;
    }";
    let one = |low: u64, high: u64| low | high << 32;
    // 200 bytes make two units of 128; the variable begins where the system's part ends.
    assert_eq!(run_module(text, 1, &[0; 4]), [one(256, 1280), one(0, 1024), one(0, 1024), one(1024, 0)]);
}

#[test]
fn textures_hinder_only_the_entries_that_use_them() {
    let text = format!(
        "{HEADER}.global .texref picture;
        .global .surfref faces[2] = {{{{width = 1}}, {{width = 2, height = 3}}}};
        .visible .entry drawn(.param .u64 buffer) {{ .reg .u64 p; mov.u64 p, picture; ret; }}
        .visible .entry given(.param .texref one) {{ ret; }}
        "
    );
    let good = ".visible .entry k(.param .u64 buffer) {
        .reg .u64 p; ld.param.u64 p, [buffer]; st.global.u64 [p], 3; ret; }";
    assert_eq!(run_module(&format!("{text}{good}"), 1, &[0]), [3]);
    let drawn = text.replace(".visible .entry given", "// ");
    let said = refusal(&drawn).expect("nothing is left to run");
    assert!(said.contains("test.ptx:6") && said.contains("picture is a .texref"), "{said}");
    let given = text.replace(".visible .entry drawn", "// ");
    let said = refusal(&given).expect("nothing is left to run");
    assert!(said.contains("test.ptx:7") && said.contains("parameter one is a .texref"), "{said}");
    // Of several that cannot run, the one that is asked for says why.
    let config = MachineConfig { checks: Checks::NONE, ..MachineConfig::new(1, 1) };
    let mut machine = Machine::new(config).expect("a valid machine");
    let module = machine.load_module("test.ptx", &text).expect("what cannot run is told when it is asked for");
    for (entry, words) in [("drawn", "test.ptx:6"), ("given", "test.ptx:7")] {
        let said = machine.entry_info(module, entry).expect_err("it uses a texture").to_string();
        assert!(said.contains(words), "{said}");
    }
    let narrow = format!("{HEADER}{good}").replace(".address_size 64", ".address_size 32");
    let said = refusal(&narrow).expect("addresses have 64 bits");
    assert!(said.contains(".address_size 32"), "{said}");
}

#[test]
fn vectors_of_registers_are_parameters() {
    let text = "
        .func (.reg .v4 .u32 r) spread(.reg .v2 .u32 a, .reg .u32 b) {
            .reg .u32 t; add.u32 r.x, a.x, b; sub.u32 r.y, a.y, b; mov.u32 r.z, a.y; mul.lo.u32 t, a.x, a.y; mov.u32 r.w, t;
            ret;
        }
        .visible .entry k(.param .u64 buffer) {
            .reg .v2 .u32 a; .reg .v4 .u32 r; .reg .u64 p, f; .reg .u32 b;
            ld.param.u64 p, [buffer]; ld.global.v2.u32 a, [p]; ld.global.u32 b, [p+8];
            call (r), spread, (a, b); st.global.v4.u32 [p], r;
            mov.u64 f, spread; prototype: .callprototype (.reg .v4 .u32 _) _ (.reg .v2 .u32 _, .reg .u32 _);
            call (r), f, (a, b), prototype; st.global.v4.u32 [p+16], r; ret;
        }";
    let one = |low: u64, high: u64| low | high << 32;
    let want = [one(6 + 5, 9 - 5), one(9, 54)];
    assert_eq!(run_module(text, 1, &[one(6, 9), 5, 0, 0]), [want, want].concat());
}

#[test]
fn packs_of_few_bits() {
    for (ty, bits, signed) in
        [("u8", 8, false), ("s8", 8, true), ("u4", 4, false), ("s4", 4, true), ("u2", 2, false), ("s2", 2, true)]
    {
        let (least, most) = if signed { (-(1i64 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
        let part = move |v: u64| (v as i32 as i64).clamp(least, most) as u64 & ((1 << bits) - 1);
        check(&format!("cvt.pack.sat.{ty}.s32.b32 d32, a32, b32, c32;"), "d32", |a, b, c| {
            // What was in `c` moves up by the two new elements.
            (c << (2 * bits) | part(a) << bits | part(b)) & 0xffff_ffff
        });
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let entry = |param: &str| format!("{HEADER}.visible .entry k(.param {param}) {{ ret; }}");
    assert_eq!(refusal(&entry(".align 4 .b8 p[32764]")), None);
    for param in [".align 4 .b8 p[32768]", ".u64 p[0xffffffff]", ".align 8 .b8 p[0x7fffffffffffffff]"] {
        assert!(refusal(&entry(param)).is_some_and(|why| why.contains("at most 32764")), "{param}");
    }
    let constant = |bytes: u64| {
        let body = "{ .reg .u64 x; mov.u64 x, c; ret; }";
        format!("{HEADER}.const .b8 c[{bytes}];\n.visible .entry k(.param .u64 p) {body}")
    };
    assert_eq!(refusal(&constant(65536)), None);
    for bytes in [720897, 90_000_000_000] {
        assert!(refusal(&constant(bytes)).is_some_and(|why| why.contains("a constant variable of")), "{bytes}");
    }
}

/// ptxas puts the 32 bits of `0f..` where 64 belong.
#[test]
fn single_bits_are_no_double() {
    let text = |line: &str, global: &str| {
        format!("{HEADER}{global}\n.visible .entry k(.param .u64 p) {{ .reg .f64 x, y; {line} ret; }}")
    };
    assert_eq!(refusal(&text("mov.f64 x, 0d3FF0000000000000; add.f64 y, x, 1.5;", ".global .f64 g = 1.5;")), None);
    for line in ["mov.f64 x, 0f3F800000;", "add.f64 y, x, 0f3F800000;"] {
        let why = refusal(&text(line, "")).unwrap_or_else(|| panic!("{line} was taken"));
        assert!(why.contains(".f64") && why.contains("operand"), "{line}: {why}");
    }
    assert!(refusal(&text("", ".global .f64 g = 0f3F800000;")).is_some_and(|why| why.contains("0d..")));
}
