//! Every row of the instruction table is one that the emulator runs, or stands in the list of what it refuses.

use std::collections::BTreeMap;
use warpferry_emu::{Machine, MachineConfig};
use warpferry_ptx::table::{Example, EXAMPLE_DECLARATIONS, ROWS};

/// Numbers from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }
}

/// Rows whose instructions are refused with an error, by the start of their syntax, and why.
const REFUSED: &[(&str, &str)] = &[
    ("alloca", "the stack of a thread does not grow by instructions"),
    ("stacksave", "as alloca"),
    ("stackrestore", "as alloca"),
    ("cp async bulk tensor", "there are no tensor maps"),
    ("cp async bulk prefetch tensor", "there are no tensor maps"),
    ("fence proxy tensormap", "there are no tensor maps"),
    ("prefetch [<S:const param>] tensormap", "there are no tensor maps"),
    ("fma rn oob", "what tensor copies read out of bounds"),
    ("ld mmio acquire", "newer than the PTX that is run"),
    ("st mmio release", "newer than the PTX that is run"),
    ("mma sync aligned m16n8k32 row col f32", "hardware adds the products of fp8 with less than 24 bits"),
    ("multimem", "there is no multicast memory"),
];

/// Rows of which some forms are run and others refused.
const PARTLY: &[&str] = &["isspacep", "mapa <T:u32 u64>", "getctarank"];

/// Why an instruction cannot be loaded, or nothing.
fn refusal(text: &str) -> Option<String> {
    let declarations = EXAMPLE_DECLARATIONS.replace('\n', " ");
    let module = format!(
        ".version 9.3\n.target sm_90a\n.address_size 64\n.func callee(.param .b32 p) {{ ret; }}\n\
         .entry k() {{ {declarations} {text} }}\n"
    );
    let mut config = MachineConfig::new(1, 1);
    config.checks.uninitialized = false;
    let mut machine = Machine::new(config).expect("a valid machine");
    machine.load_module("row.ptx", &module).err().map(|error| error.to_string())
}

#[test]
fn every_row_is_run_or_refused_on_purpose() {
    let seed = 0x5EED_0003;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let mut wrong = BTreeMap::new();
    for (index, row) in ROWS.iter().enumerate().filter(|(_, row)| row.sm <= 90) {
        let on_purpose = REFUSED.iter().any(|(start, _)| row.syntax.starts_with(start));
        let examples = (0..24).filter_map(|_| Example::new(index, &mut |n| random.next(n))).map(|e| e.text());
        for text in examples.filter(|text| !text.contains(".param")) {
            let partly = PARTLY.iter().any(|start| row.syntax.starts_with(start));
            match (refusal(&text), on_purpose) {
                _ if partly => {}
                (Some(why), false) => {
                    wrong.entry(row.syntax).or_insert(format!("{text} {why}"));
                }
                (None, true) => {
                    wrong.entry(row.syntax).or_insert(format!("{text} is not refused"));
                }
                _ => {}
            }
        }
    }
    let lines: Vec<String> = wrong.iter().map(|(row, why)| format!("{row}\n    {why}")).collect();
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), lines.join("\n"));
}
