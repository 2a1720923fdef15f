//! Printed modules parse to equal modules: on a module with every construct, and on modules made of examples of the
//! instruction table.

use warpferry_ptx::parse;
use warpferry_ptx::print::{normalized, print};
use warpferry_ptx::table::{Example, EXAMPLE_DECLARATIONS, ROWS};

const EVERYTHING: &str = r#".version 8.10
.target sm_90a
.pragma "module";
.extern .shared .align 16 .b8 stage[];
.visible .global .align 4 .u32 table[2][3] = { {1, 2}, {0x10, 020, -1} };
.const .f32 half = 0.5;
.global .f64 whole = 1.0;
.global .v4 .f32 quad;
.global .texref picture;
.global .surfref faces[2] = {{width = 1}, {width = 2}};
.extern .func (.param .b32 r) outside(.param .b32 a, .param .align 8 .b8 b[16]);
.func (.reg .u32 sum) plus(.reg .u32 a, .reg .u32 b) { add.u32 sum, a, b; ret; }
.func (.reg .v2 .u32 both) swap(.reg .v2 .u32 a) { mov.u32 both.x, a.y; mov.u32 both.y, a.x; ret; }
.func stop() .noreturn { trap; }
.weak .entry k(.param .u64 arg_p, .param .u64 .ptr .shared .align 16 arg_q)
.maxntid 32, 4
.minnctapersm 2
.maxnreg 64
.pragma "nounroll";
{
    .reg .u32 thread, stage;
    .reg .u64 base;
    .reg .pred inside;
    .reg .v2 .f32 pair;
    .reg .b32 word<3>;
    .local .align 8 .b8 space[32];
targets: .branchtargets again, done;
shape: .callprototype (.param .b32 r) _ (.param .b32 a, .reg .u64 b);
any: .calltargets plus;
again:
first:
    mov.u32 thread, %tid.x;
    .pragma "nounroll";
    { .reg .u32 thread; again: mov.u32 thread, 7; @!inside bra again; bra done; }
    { .reg .u32 thread; again: mov.u32 thread, stage;
      targets: .branchtargets again; brx.idx thread, targets; }
    mov.b64 base, (.s64)0x8000000000000000;
    mov.f32 pair.y, 1.5e-3;
    mov.f32 pair.x, 0f3F800000;
    mov.b64 pair, {word0, word1};
    mov.u64 base, table+8;
    ld.shared.u32 thread, [stage+-4];
    ld.global.v2.f32 pair, [base+(.s64)0x8000000000000000];
    ld.local.b8 thread, [space+3];
    ld.local.b8 thread, [64];
    brx.idx thread, targets;
    { .param .b32 x, y; call (x), base, (y, base), shape; }
    call (x$), plus, (thread, 3);
    vadd.u32.u32.u32 thread.h1, thread.b3, stage, thread;
    vadd4.u32.s32.u32.sat thread.b20, thread.b7604, stage, thread;
    vmad.s32.u32.u32 thread, -stage, thread.h0, -word0;
    setp.eq.and.u32 inside|_, thread, 1, !inside;
done:
}
"#;

fn round_trip(text: &str) {
    let module = parse("t.ptx", text).unwrap_or_else(|e| panic!("{e}"));
    let printed = print(&module);
    let mut again = parse("file", &printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    // Lines of the printed text are its own; nothing else may be lost.
    let names = again.clone();
    again = normalized(&again);
    assert_eq!(again, normalized(&module), "{printed}");
    let strip = |module: &warpferry_ptx::ast::Module| -> Vec<String> {
        let bodies = module.functions.iter().filter_map(|f| f.body.as_ref());
        bodies.flat_map(|body| body.registers.iter().map(|register| register.name.clone())).collect()
    };
    assert_eq!(strip(&names), strip(&again), "printed names are unique already");
    assert_eq!(print(&again), printed, "printing is idempotent");
}

#[test]
fn a_module_with_everything_survives() {
    round_trip(&EVERYTHING.replace("(x$)", "(thread)"));
}

#[test]
fn examples_of_every_row_survive() {
    for seed in 1..20u64 {
        println!("seed {seed}");
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut pick = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as usize % below.max(1)
        };
        let mut text =
            ".version 9.0 .target sm_90a .address_size 64\n.func callee(.param .b32 p) { ret; }\n".to_string();
        text.push_str(".entry k() {\n");
        text.push_str(EXAMPLE_DECLARATIONS);
        for index in 0..ROWS.len() {
            let example = Example::new(index, &mut pick).expect("the index is in range");
            text.push_str(&example.text());
            text.push('\n');
        }
        text.push('}');
        round_trip(&text);
    }
}
