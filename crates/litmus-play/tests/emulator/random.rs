//! Random programs of generic accesses, as litmus tests.

#[path = "../../../litmus/tests/shared/draw.rs"]
mod draw;

use draw::Random;

const SCOPES: [&str; 3] = ["cta", "gpu", "sys"];
const PLACES: [&str; 4] = ["cta 0,gpu 0", "cta 0,gpu 0", "cta 1,gpu 0", "cta 0,gpu 1"];

fn pick<'a>(random: &mut Random, of: &[&'a str]) -> &'a str {
    of[random.below(of.len())]
}

/// Order and scope of an access.
fn qualifier(random: &mut Random, orders: &[&str]) -> String {
    match pick(random, orders) {
        "weak" => "weak".to_string(),
        // Wide scopes more often: narrow ones order little.
        order => format!("{order}.{}", SCOPES[random.below(6).min(2)]),
    }
}

fn instruction(random: &mut Random, register: usize) -> String {
    let place = pick(random, &["x", "y"]);
    let value = 1 + random.below(2);
    match random.below(10) {
        0..=3 => format!("ld.{} r{register}, {place}", qualifier(random, &["weak", "relaxed", "acquire"])),
        4..=6 => format!("st.{} {place}, {value}", qualifier(random, &["weak", "relaxed", "release"])),
        7 if register > 0 => {
            format!("st.{} {place}, r{}", qualifier(random, &["weak", "relaxed", "release"]), random.below(register))
        }
        8 => {
            let orders = ["relaxed", "acquire", "release", "acq_rel"];
            let operation = pick(random, &["exch", "add"]);
            format!("atom.{}.{operation} r{register}, {place}, {value}", qualifier(random, &orders))
        }
        _ => format!("fence.{}", qualifier(random, &["acq_rel", "sc"])),
    }
}

/// The program of a seed: two threads of up to four instructions, or three of up to three.
pub fn program(seed: u64) -> String {
    let mut random = Random::new(seed);
    let threads = 2 + random.below(2);
    let most = if threads == 2 { 4 } else { 3 };
    let heads: Vec<String> = (0..threads).map(|i| format!("P{i}@{}", pick(&mut random, &PLACES))).collect();
    let columns: Vec<Vec<String>> = (0..threads)
        .map(|_| (0..2 + random.below(most - 1)).map(|register| instruction(&mut random, register)).collect())
        .collect();
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |column: &Vec<String>, row: usize| column.get(row).cloned().unwrap_or_default();
    let line = |row: usize| columns.iter().map(|column| cell(column, row)).collect::<Vec<_>>().join(" | ");
    let body: Vec<String> = (0..rows).map(|row| format!(" {} ;", line(row))).collect();
    let registers: String = (0..threads).flat_map(|i| (0..4).map(move |r| format!("P{i}:r{r};"))).collect();
    format!(
        "PTX random\n{{ x=0; y=0; }}\n {} ;\n{}\nlocations [{registers} x; y;]\nexists (true)\n",
        heads.join(" | "),
        body.join("\n")
    )
}
