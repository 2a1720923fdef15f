//! The classic shapes, weak and strong, within a block, within a GPU and across GPUs.

use warpferry_litmus::parse;
use warpferry_litmus_play::Standing;

use crate::{outcomes, unseen};

/// Columns of a shape, `W` and `R` standing for the qualifiers of stores and loads, `F` for a fence.
const SHAPES: [(&str, &[&[&str]]); 10] = [
    ("SB", &[&["st.W x, 1", "F", "ld.R r0, y"], &["st.W y, 1", "F", "ld.R r0, x"]]),
    ("MP", &[&["st.W x, 1", "F", "st.W y, 1"], &["ld.R r0, y", "F", "ld.R r1, x"]]),
    ("LB", &[&["ld.R r0, x", "F", "st.W y, 1"], &["ld.R r0, y", "F", "st.W x, 1"]]),
    ("S", &[&["st.W x, 2", "F", "st.W y, 1"], &["ld.R r0, y", "F", "st.W x, 1"]]),
    ("R", &[&["st.W x, 1", "F", "st.W y, 1"], &["st.W y, 2", "F", "ld.R r0, x"]]),
    ("2+2W", &[&["st.W x, 1", "F", "st.W y, 2"], &["st.W y, 1", "F", "st.W x, 2"]]),
    ("CoRR", &[&["st.W x, 1"], &["ld.R r0, x", "F", "ld.R r1, x"]]),
    ("WRC", &[&["st.W x, 1"], &["ld.R r0, x", "F", "st.W y, 1"], &["ld.R r0, y", "F", "ld.R r1, x"]]),
    (
        "ISA2",
        &[&["st.W x, 1", "F", "st.W y, 1"], &["ld.R r0, y", "F", "st.W z, 1"], &["ld.R r0, z", "F", "ld.R r1, x"]],
    ),
    ("IRIW", &[&["st.W x, 1"], &["st.W y, 1"], &["ld.R r0, x", "F", "ld.R r1, y"], &["ld.R r0, y", "F", "ld.R r1, x"]]),
];

/// Qualifiers of stores and loads, and a fence.
const ORDERS: [(&str, &str, &str); 5] = [
    ("weak", "weak", ""),
    ("relaxed.sys", "relaxed.sys", ""),
    ("release.sys", "acquire.sys", ""),
    ("relaxed.sys", "relaxed.sys", "fence.acq_rel.sys"),
    ("relaxed.sys", "relaxed.sys", "fence.sc.sys"),
];

/// How far apart the columns are: one block, one GPU, different GPUs.
fn place(apart: usize, column: usize) -> String {
    match apart {
        0 => "cta 0,gpu 0".to_string(),
        1 => format!("cta {column},gpu 0"),
        _ => format!("cta 0,gpu {column}"),
    }
}

fn text(columns: &[&[&str]], apart: usize, (store, load, fence): (&str, &str, &str)) -> String {
    let line = |line: &str| match line {
        "F" => fence.to_string(),
        line => line.replace(".W", &format!(".{store}")).replace(".R", &format!(".{load}")),
    };
    let columns: Vec<Vec<String>> = columns.iter().map(|of| of.iter().map(|it| line(it)).collect()).collect();
    let heads: Vec<String> = (0..columns.len()).map(|i| format!("P{i}@{}", place(apart, i))).collect();
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |column: &Vec<String>, row: usize| column.get(row).cloned().unwrap_or_default();
    let row = |row: usize| columns.iter().map(|column| cell(column, row)).collect::<Vec<_>>().join(" | ");
    let body: Vec<String> = (0..rows).map(|i| format!("{} ;", row(i))).collect();
    let registers: String = (0..columns.len()).map(|i| format!("P{i}:r0; P{i}:r1;")).collect();
    format!(
        "PTX shape\n{{ x=0; y=0; z=0; }}\n{} ;\n{}\nlocations [x; y; {registers}]\nexists (true)\n",
        heads.join(" | "),
        body.join("\n")
    )
}

#[test]
fn every_outcome_in_order_of_the_classic_shapes_is_seen() {
    let (mut tests, mut seen, mut forbidden, mut out_of_order) = (0, 0, 0, Vec::new());
    for (name, columns) in SHAPES {
        for apart in 0..3 {
            for orders in ORDERS {
                let text = text(columns, apart, orders);
                let test = parse(name, &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
                let (outcomes, tally) = outcomes(&format!("FILE, with this in it:\n{text}"), &test, 200)
                    .unwrap_or_else(|error| panic!("{error}\n{text}"));
                let unseen = unseen(&outcomes);
                assert!(unseen.is_empty(), "{name}: never seen: {unseen:?}\n{text}");
                tests += 1;
                seen += tally.states.len();
                forbidden += outcomes.iter().filter(|it| it.standing == Standing::Forbidden).count();
                if outcomes.iter().any(|it| it.standing == Standing::AllowedOutOfOrder) && !out_of_order.contains(&name)
                {
                    out_of_order.push(name);
                }
            }
        }
    }
    println!("{tests} tests showed {seen} outcomes, all in order, and none of {forbidden} forbidden ones");
    assert_eq!(out_of_order, ["LB"], "only load buffering needs instructions out of order");
}
