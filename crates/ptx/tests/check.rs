//! What the check says: one damaged instruction for each kind of diagnostic, and a clean module without any.

use warpferry_ptx::{check, parse};

fn said(version: &str, target: &str, code: &str) -> String {
    let text = format!(
        ".version {version}\n.target {target}\n.address_size 64\n.global .b32 table[4];\n\
         .func (.param .b32 r) twice(.param .b32 a) {{ ret; }}\n.entry k(.param .u64 arg_p) {{\n\
         .reg .b32 a; .reg .u32 u; .reg .f32 f; .reg .b64 l; .reg .pred p; .shared .b64 bar; .param .b64 wide;\n{code}\n}}"
    );
    let module = parse("t.ptx", &text).unwrap_or_else(|e| panic!("{e}"));
    check(&module).iter().map(|diagnostic| format!("{diagnostic}\n")).collect()
}

#[test]
fn every_kind_of_mistake_is_named_with_its_place() {
    for (code, expected) in [
        ("frob.u32 a, a;", "t.ptx:8: `frob.u32` in `k`: this opcode is not in the instruction table"),
        ("ld.acquire.gpuu.global.u32 a, [l];", "`.gpuu` does not fit here; valid is .cta .cluster .gpu .sys"),
        ("ld.acquire.sys.global a, [l];", "a modifier is missing at the end; valid is"),
        ("ret.uni.uni;", "`.uni` does not fit here; no modifier does"),
        ("add.u32 a, a;", "2 operands; it takes 3"),
        ("bar.sync;", "0 operands; it takes 1 to 2"),
        ("add.u32 a, a, l;", "operand 3 must be a register for .u32"),
        ("add.u32 a, 1.0, a;", "operand 2 must be a literal of type .u32"),
        ("ld.global.b32 a, [u];", "operand 2 must be an address in global space in a 64-bit integer register"),
        ("ld.shared.b32 a, [table];", "operand 2 must be a variable in shared space"),
        ("setp.eq.u32 a, a, a;", "operand 1 must be a predicate"),
        ("bar.sync 16;", "operand 1 must be a barrier from 0 to 15"),
        ("bar.sync 1, 33;", "operand 2 must be a multiple of 32 threads"),
        ("mbarrier.try_wait.parity.shared::cta.b64 p, [bar], 2;", "operand 3 must be 0 or 1"),
        ("cp.async.bulk.wait_group.read a;", "operand 1 must be a literal from 0"),
        ("mov.u32 a, %clock64;", "operand 2 must be a value of type .u32"),
        ("call (wide), twice, (a);", "`r` of the returns has another size"),
        ("call twice, (a);", "0 returns given, 1 declared"),
        ("call l, (a);", "an indirect call names its prototype"),
        ("ld.mmio.acquire.sys.global.u32 a, [l];", "needs .version 9.3; the module has 8.2"),
        (
            "setmaxnreg.inc.sync.aligned.u32 64;",
            "needs .target sm_90 with a suffix such as `a` or later; the module has sm_90",
        ),
    ] {
        let found = said("8.2", "sm_90", code);
        assert!(found.contains(expected), "{code}: {found:?}");
        assert_eq!(found.lines().count(), 1, "{code}: {found}");
    }
    assert!(said("8.2", "sm_80", "elect.sync _|p, -1;").contains("needs .target sm_90 or later; the module has sm_80"));
    assert!(said("7.8", "sm_90", "elect.sync _|p, -1;").contains("needs .version 8.0; the module has 7.8"));
}

#[test]
fn what_our_kernels_do_is_in_the_table() {
    let code = "\
        mbarrier.init.shared::cta.b64 [bar], 1;\n\
        fence.mbarrier_init.release.cluster;\n\
        mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], u;\n\
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [a], [l], u, [bar];\n\
        mbarrier.try_wait.parity.shared::cta.b64 p, [bar], u;\n\
        fence.proxy.async.shared::cta;\n\
        cp.async.bulk.global.shared::cta.bulk_group [l], [a], u;\n\
        cp.async.bulk.commit_group;\n\
        cp.async.bulk.wait_group.read 0;\n\
        fence.acq_rel.sys;\n\
        st.relaxed.sys.global.u64 [l], l;\n\
        st.mmio.relaxed.sys.global.u64 [l], l;\n\
        ld.acquire.sys.global.u64 l, [l];\n\
        atom.and.b32 a, [l], u;\n\
        atom.relaxed.gpu.global.inc.u32 u, [l], 7;\n\
        shfl.sync.bfly.b32 a, a, 1, 31, -1;\n\
        elect.sync _|p, -1;\n\
        @p nanosleep.u32 100;\n\
        setmaxnreg.inc.sync.aligned.u32 64;\n\
        cvt.rn.bf16x2.f32 a, f, 0f3F800000;";
    assert_eq!(said("8.2", "sm_90a", code), "");
}
