//! The parser on whole modules: what it accepts, what it says about errors, and that no input makes it panic.

use warpferry_ptx::ast::*;
use warpferry_ptx::print::{normalized, print};
use warpferry_ptx::{check, parse};

const HEADER: &str = ".version 8.2\n.target sm_90\n.address_size 64\n";

const COPY: &str = r#".version 8.2
.target sm_90
.address_size 64
.extern .shared .align 16 .b8 stage[];
.global .align 4 .u32 table[2][3] = { {1, 2}, {0x10, 020, 0b11} };
.const .f32 half = 0f3F000000;
.func (.param .b32 result) add(.param .b32 left, .param .b32 right);
.func (.reg .u32 sum) plus(.reg .u32 a, .reg .u32 b) { add.u32 sum, a, b; ret; }
# 1 "copy.ptx" 1
.visible .entry put_signal(
    .param .u64 arg_dst,
    .param .u64 .ptr .global .align 16 arg_src,
    .param .u64 arg_bytes
)
.maxntid 1024
{
    .reg .u64   dst, src, src_end, stride;      // cursors of this thread
    .reg .u32   thread, threads;
    .reg .b32   word<4>;
    .reg .pred  inside, leader;
    .reg .v2 .f32 pair;
    mov.u32             thread, %tid.x;
    ld.param.u64        src, [arg_src];
    mad.wide.u32        src, thread, 16, src;
copy:
    setp.lt.u64         inside, src, src_end;
    @!inside bra        publish;
    ld.global.v4.b32    {word0, word1, word2, word3}, [src];
    st.global .v4.b32    [dst+-16], {word0, word1, _, 7};
    mov.f32             pair.y, 0f3F800000; /* one */
    { .reg .u32 thread; again: mov.u32 thread, WARP_SZ*2-(.u64)1; bra again; }
    { .reg .u32 thread; again: mov.u32 thread, 1 ? 2 : 3; @inside bra copy; }
    shfl.sync.bfly.b32  word0|leader, word1, 1, 31, -1;
    mbarrier.try_wait.acquire.cta.shared::cta.b64 leader, [stage+8], src;
    call.uni (thread), plus, (threads, 3);
    bra                 copy;
publish:
    ret;
}
"#;

fn kernel(code: &str) -> String {
    format!("{HEADER}.entry k(.param .u64 arg_p)\n{{\n{code}\n}}\n")
}

fn message(text: &str) -> String {
    match parse("t.ptx", text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_module_with_everything_parses() {
    let module = parse("t.ptx", COPY).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        (module.version, module.targets.as_slice(), module.address_size),
        ((8, 2), &["sm_90".to_string()][..], 64)
    );
    let table = &module.variables[1];
    let words: Vec<u32> = table.init.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    assert_eq!((table.elements, words), (Some(6), vec![1, 2, 0, 16, 16, 3]));
    assert_eq!(module.variables[0].elements, None);
    let function = module.function("put_signal").expect("defined above");
    assert_eq!(function.max_threads, Some([1024, 1, 1]));
    assert_eq!(function.params[1].pointer, Some(Pointer { space: Space::Global, align: 16 }));
    let body = function.body.as_ref().expect("has a body");
    let again: Vec<usize> = body.labels.iter().filter(|l| l.name == "again").map(|l| l.at).collect();
    assert_eq!(again, [8, 10], "two labels of one name in two scopes");
    assert_eq!(body.code[8].operands[1], Operand::Integer(63));
    assert_eq!(body.code[10].operands[1], Operand::Integer(2));
    assert_ne!(body.code[8].operands[0], body.code[10].operands[0], "shadowing registers differ");
    assert_eq!(module.file(body.code[0].position), "copy.ptx");
    assert_eq!(body.code[0].position.line, 13);
    assert_eq!(body.code[0].operands[1], Operand::Special("tid.x".into()));
    assert_eq!(body.code[6].mnemonic(), "st.global.v4.b32");
    let plus = module.function("plus").and_then(|f| f.body.as_ref()).expect("defined above");
    assert_eq!(plus.param_registers, [Some(RegisterId(1)), Some(RegisterId(2))]);
    assert_eq!(plus.return_registers, [Some(RegisterId(0))]);
}

/// A register belongs to the innermost braces around its declaration.
#[test]
fn registers_know_their_block() {
    let text = kernel(".reg .u32 a; mov.u32 a, 1; { .reg .u32 b; mov.u32 b, a; { .reg .u32 c; mov.u32 c, b; } .reg .u32 d; mov.u32 d, b; } mov.u32 a, 2;");
    let module = parse("test.ptx", &text).unwrap_or_else(|error| panic!("{error}"));
    let body = module.functions[0].body.as_ref().expect("a body");
    let blocks: Vec<_> =
        body.registers.iter().map(|register| (register.name.as_str(), register.block.clone())).collect();
    assert_eq!(blocks, [("a", 0..5), ("b", 1..4), ("c", 2..3), ("d", 1..4)]);
}

#[test]
fn constants_follow_the_rules_of_ptx() {
    for (text, value) in [
        ("-1", -1i128),
        ("0xffffffffffffffff", i128::from(u64::MAX)),
        ("-8 >> 1", -4),
        ("(.u64)-8 >> 1", i128::from((-8i64 as u64) >> 1)),
        ("1 + 2 * 3 << 1", 14),
        ("~0U", i128::from(u64::MAX)),
        ("!5 + !0", 1),
        ("7 % 4", 3),
        ("7 % 4U", 3),
        ("(1 < 2) && (3 >= 3) || 0", 1),
        ("5 | 2 ^ 3 & 6", 5),
        ("0 ? 1 : 1 ? 2 : 3", 2),
        ("-9223372036854775808", i128::from(1u64 << 63)),
        ("017", 15),
        ("WARP_SZ", 32),
        ("9 / -2", -4),
        ("-1 < 1", 1),
        ("-1 < 1U", 0),
        ("-2 / 2U", i128::from(u64::MAX / 2)),
    ] {
        let module =
            parse("t.ptx", &kernel(&format!(".reg .b64 r; mov.b64 r, {text};"))).unwrap_or_else(|e| panic!("{e}"));
        let body = module.functions[0].body.as_ref().expect("has a body");
        assert_eq!(body.code[0].operands[1], Operand::Integer(value), "{text}");
    }
}

#[test]
fn errors_name_the_place_and_the_reason() {
    for (code, said) in [
        ("bra nowhere;", "label `nowhere` is missing"),
        (".reg .b32 a; .reg .u32 a;", "`a` is declared twice in this scope"),
        (".reg .b32 arg_p;", "`arg_p` is declared twice in this scope"),
        ("mov.u32 x, 1;", "`x` is not declared"),
        (".reg .b32 x; mov.u32 x, %tod.x;", "`%tod.x` is not declared"),
        (".reg .b32 x; mov.u32 x, %speed;", "neither a declared register nor a special register"),
        (".reg .b32 r<1000000000>;", "more than 262144 registers"),
        (".reg .b64 x; ld.global.b64 x, [x-8];", "write a negative offset as `+-8`"),
        (".reg .f32 x; mov.f32 x, -0f3F800000;", "takes no sign"),
        ("ret;;", "an empty statement"),
        ("x: x: ret;", "`x` is declared twice in this scope"),
        ("ret }", "expected an operand, found `}`"),
        (".reg .b32 x; @x ret;", "guard `x` is not a predicate"),
        (".reg .b32 x; mov.b32 x, 1/0;", "division by zero"),
        (".reg .b32 x; mov.b32 x, 08;", "`08` is not an integer of base 8"),
        (".reg .b32 x; mov.b32 x, 99999999999999999999;", "does not fit in 64 bits"),
        (".reg .f32 x; mov.f32 x, 0f3F8;", "takes exactly 8 hexadecimal digits"),
        (".reg .bf16 x;", "`.bf16` cannot be declared"),
        ("{ .reg .b32 x; } mov.b32 x, 1;", "`x` is not declared"),
        ("{ inner: ret; } bra inner;", "label `inner` is missing"),
        (".shared .b8 s[0];", "array size 0 is not positive"),
        (".shared .align 3 .b8 s[4];", "alignment 3 is not a power of two"),
        (".shared .b32 s = 4;", "only `.global` and `.const`"),
        ("ld.global. u32 a, [b];", "unexpected character '.'"),
        ("# include <x>", "unexpanded preprocessor directive"),
    ] {
        let said_at = message(&kernel(code));
        assert!(said_at.contains(said), "{code}: {said_at}");
        assert!(said_at.starts_with("t.ptx:6:"), "{code}: {said_at}");
    }
    assert!(message("").contains("expected `.version`"));
    assert!(message(&format!("{HEADER}.global .u64 a = b;"))
        .contains("`b` is no variable in global or constant memory, nor a function"));
    assert!(message(&format!("{HEADER}.global .b8 a[2] = {{1,2,3}};")).contains("more initial values than the 2"));
    assert!(message(&format!("{HEADER}.entry a() {{ ret;")).contains("this `{` is never closed"));
}

#[test]
fn an_error_is_one_readable_block() {
    let text = format!("{HEADER}# 40 \"wait.ptxh\" 1\n.entry a()\n{{\n\tbra nowhere;\n}}");
    assert_eq!(message(&text), "wait.ptxh:42:6: label `nowhere` is missing\n   |\n42 |  bra nowhere;\n   |      ^");
}

#[test]
fn nesting_is_bounded() {
    let deep = |open: &str, count: usize| open.repeat(count);
    for code in [
        deep("{", 100_000),
        format!(".reg .b32 a; mov.b32 a, {}1;", deep("(", 100_000)),
        format!(".reg .b32 a; mov.b32 a, {}1;", deep("-", 100_000)),
        format!(".reg .b32 a; mov.b32 a, {}1;", deep("1?", 100_000)),
        format!(".reg .b32 a; mov.b32 a, {}a;", deep("{", 100_000)),
        format!(".reg .b32 a; mov.b32 a, {}a;", deep("a|", 100_000)),
    ] {
        assert!(message(&kernel(&code)).contains("nested deeper than"));
    }
    let text = format!("{HEADER}.global .b8 a[2][1000000000] = {{ {{1}}, {{2}} }};");
    assert!(message(&text).contains("initial values reach beyond"));
}

/// Numbers from a seed; the seed is in the failure's text.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }
}

/// Cuts, copies and swaps pieces of a good module; the parser must answer, whatever it answers.
#[test]
fn no_mutated_module_makes_the_parser_panic() {
    const PIECES: [&str; 24] = [
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "|",
        "!",
        "-",
        "<",
        ">",
        ",",
        ";",
        ":",
        "@",
        "\"",
        "/*",
        "# 7 \"x\"\n",
        ".v4",
        "%",
        "0x",
        "1e",
        "\u{e9}",
        "\0",
    ];
    let mut accepted = 0;
    for seed in 1..3000u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut text: Vec<char> = COPY.chars().collect();
        for _ in 0..=random.next(4) {
            let at = random.next(text.len());
            let end = (at + random.next(12)).min(text.len());
            match random.next(4) {
                0 => drop(text.drain(at..end)),
                1 => drop(text.splice(at..at, PIECES[random.next(PIECES.len())].chars())),
                2 => {
                    let piece: Vec<char> = text[at..end].to_vec();
                    let to = random.next(text.len());
                    drop(text.splice(to..to, piece));
                }
                _ => text.truncate(text.len() - random.next(40)),
            }
        }
        let text: String = text.into_iter().collect();
        println!("seed {seed}");
        match parse("t.ptx", &text) {
            Err(error) => {
                assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty());
                assert_eq!(error.to_string().lines().count(), 4);
            }
            Ok(module) => {
                accepted += 1;
                for diagnostic in check(&module) {
                    assert!(!diagnostic.to_string().is_empty());
                }
                let printed = print(&module);
                let again = parse("file", &printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
                assert_eq!(normalized(&again), normalized(&module), "{printed}");
            }
        }
    }
    assert!(accepted > 60, "only {accepted} mutated modules parse: too few to try the printer on");
}
