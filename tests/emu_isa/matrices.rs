//! `mma` of integers and of halves: drawn registers, spread out as the manual lays the fragments out, and multiplied.

use crate::programs::{run_module, try_module};
use crate::{must_assemble, Draw};
use warpferry_emu::MachineConfig;

/// Shape, types of `a` and `b`, what follows them, registers of `a`, `b` and the sums, bits of an element.
type Case = (&'static str, &'static str, &'static str, &'static str, [usize; 3], u32);

const INTEGERS: &[Case] = &[
    ("m8n8k16", "s8", "u8", "", [1, 1, 2], 8),
    ("m8n8k16", "u8", "s8", "", [1, 1, 2], 8),
    ("m16n8k16", "s8", "s8", "", [2, 1, 4], 8),
    ("m16n8k32", "u8", "u8", "", [4, 2, 4], 8),
    ("m8n8k32", "s4", "u4", "", [1, 1, 2], 4),
    ("m16n8k32", "u4", "s4", "", [2, 1, 4], 4),
    ("m16n8k64", "s4", "s4", "", [4, 2, 4], 4),
    ("m8n8k128", "b1", "b1", ".xor.popc", [1, 1, 2], 1),
    ("m16n8k128", "b1", "b1", ".and.popc", [2, 1, 4], 1),
    ("m16n8k256", "b1", "b1", ".xor.popc", [4, 2, 4], 1),
];

/// An entry that loads twelve words a thread, multiplies, and stores four.
fn module(instruction: &str, registers: [usize; 3], kind: &str) -> String {
    let list = |first: usize, count: usize| {
        let names: Vec<String> = (first..first + count).map(|i| format!("r{i}")).collect();
        format!("{{{}}}", names.join(", "))
    };
    let loads: String = (0..12).map(|i| format!("ld.global.u32 r{i}, [p+{}];\n", 4 * i)).collect();
    let stores: String = (0..registers[2]).map(|i| format!("st.global.u32 [p+{}], r{};\n", 4 * i, 8 + i)).collect();
    let [a, b, c] = registers;
    format!(
        ".visible .entry k(.param .u64 buffer) {{
            .reg .u64 p; .reg .{kind} r<12>; .reg .u32 tid;
            ld.param.u64 p, [buffer]; mov.u32 tid, %tid.x; mad.wide.u32 p, tid, 48, p;
            {loads}
            {instruction} {}, {}, {}, {};
            {stores} ret;
        }}",
        list(8, c),
        list(0, a),
        list(4, b),
        list(8, c)
    )
}

/// Words of a lane, register by register.
fn words(input: &[u64], lane: usize) -> [u32; 12] {
    std::array::from_fn(|i| (input[6 * lane + i / 2] >> (32 * (i % 2))) as u32)
}

/// Element `(i, k)` of `a`, or `(k, i)` of `b`: the registers of its lane, the rows above eight in every second one.
fn element(input: &[u64], first: usize, has_upper: bool, i: usize, k: usize, bits: u32) -> u32 {
    let packed = 32 / bits as usize;
    let (lane, part, further) = (i % 8 * 4 + k % (4 * packed) / packed, k % packed, k / (4 * packed));
    let register = if has_upper { i / 8 + 2 * further } else { further };
    words(input, lane)[first + register] >> (bits as usize * part) & (u32::MAX >> (32 - bits))
}

#[test]
fn integers_of_all_shapes() {
    let mut draw = Draw(0x3a7);
    for (shape, one, two, kind, registers, bits) in INTEGERS {
        let text = module(&format!("mma.sync.aligned.{shape}.row.col.s32.{one}.{two}.s32{kind}"), *registers, "u32");
        let input: Vec<u64> = (0..192).map(|_| draw.number()).collect();
        let got = run_module(&text, 32, &input);
        let rows = 4 * registers[2];
        let depth = 128 / *bits as usize * if registers[0] == 4 { 2 } else { 1 };
        let signed = |v: u32, ty: &str| match ty.as_bytes()[0] {
            b's' => ((v << (32 - bits)) as i32 >> (32 - bits)) as i64,
            _ => v as i64,
        };
        for row in 0..rows {
            for column in 0..8 {
                let (lane, index) = (row % 8 * 4 + column / 2, 2 * (row / 8) + column % 2);
                let mut sum = words(&input, lane)[8 + index] as i32 as i64;
                for k in 0..depth {
                    let (a, b) =
                        (element(&input, 0, rows == 16, row, k, *bits), element(&input, 4, false, column, k, *bits));
                    sum += if kind.contains("xor") { (a ^ b) as i64 } else { signed(a, one) * signed(b, two) };
                }
                assert_eq!(
                    words(&got, lane)[index],
                    sum as u32,
                    "{shape} {one} {two} {kind}: row {row} column {column}"
                );
            }
        }
    }
}

#[test]
fn halves_with_sums_in_half() {
    let mut draw = Draw(0x3a8);
    for (shape, registers) in [("m16n8k8", [2, 1, 2]), ("m16n8k16", [4, 2, 2])] {
        let text = module(&format!("mma.sync.aligned.{shape}.row.col.f16.f16.f16.f16"), registers, "b32");
        // Whole numbers from -3 to 3: every sum is exact.
        let half =
            |draw: &mut Draw| [0u64, 0x3c00, 0x4000, 0x4200, 0xbc00, 0xc000, 0xc200][(draw.number() % 7) as usize];
        let word = |draw: &mut Draw| (0..4).fold(0, |word, i| word | half(draw) << (16 * i));
        let input: Vec<u64> = (0..192).map(|_| word(&mut draw)).collect();
        let got = run_module(&text, 32, &input);
        let number = |bits: u32| match bits & 0x7fff {
            0 => 0.0,
            other => {
                let size = (1.0 + (other & 0x3ff) as f64 / 1024.0) * 2f64.powi((other >> 10) as i32 - 15);
                if bits >> 15 == 1 {
                    -size
                } else {
                    size
                }
            }
        };
        for row in 0..16 {
            for column in 0..8 {
                let (lane, index, shift) = (row % 8 * 4 + column / 2, row / 8, 16 * (column % 2));
                let mut sum = number(words(&input, lane)[8 + index] >> shift & 0xffff);
                for k in 0..8 * registers[1] {
                    sum +=
                        number(element(&input, 0, true, row, k, 16)) * number(element(&input, 4, false, column, k, 16));
                }
                let bits = words(&got, lane)[index] >> shift & 0xffff;
                assert_eq!(number(bits), sum, "{shape} row {row} column {column}");
                assert_ne!(bits, 0x8000, "{shape} row {row} column {column}: -0");
            }
        }
    }
}

#[test]
fn clamped_sums_are_exact_or_faults() {
    // All elements of `a` are 1, of `b` the bytes given: terms of one sign may be clamped, those of two signs not.
    let run = |b: [u8; 4], c: u32| {
        let header = ".version 8.6\n.target sm_90\n.address_size 64\n";
        let body = module("mma.sync.aligned.m8n8k16.row.col.satfinite.s32.u8.s8.s32", [1, 1, 2], "u32");
        let text = format!("{header}{body}");
        must_assemble(&text);
        let lane = |i: usize| [0x0101_0101u32, u32::from_le_bytes(b), c, 0][[0, 3, 3, 3, 1, 3, 3, 3, 2, 2, 2, 2][i]];
        let words = |i: usize| u64::from(lane(i % 12)) | u64::from(lane((i + 1) % 12)) << 32;
        let input: Vec<u64> = (0..12 * 32).step_by(2).map(words).collect();
        try_module(MachineConfig::new(1, 1), &text, [1, 1, 1], 32, &input).map(|back| back[0] as u32)
    };
    assert_eq!(run([3; 4], 0x7fff_ff00), Ok(0x7fff_ff30));
    assert_eq!(run([100; 4], 0x7fff_ff00), Ok(0x7fff_ffff));
    assert_eq!(run([0x80; 4], 0x8000_0100), Ok(0x8000_0000));
    let said = run([1, 0xff, 1, 0xff], 0x7fff_ffff).expect_err("the order matters");
    assert!(said.contains("clamped"), "{said}");
    assert_eq!(run([1, 0xff, 1, 0xff], 0x7fff_fff0), Ok(0x7fff_fff0));
}
