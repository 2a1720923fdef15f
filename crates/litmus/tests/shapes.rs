//! The classic shapes at every combination of order, scope and placement, against what the model says of each in words.

use std::cell::Cell;

use warpferry_litmus::{parse, run, Options, Verdict};

const SCOPES: [&str; 3] = ["cta", "gpu", "sys"];

/// How far apart the threads are: one block, one GPU, different GPUs.
#[derive(Debug, Clone, Copy)]
struct Apart(usize);

impl Apart {
    fn place(self, thread: usize) -> String {
        match self.0 {
            0 => "cta 0,gpu 0".to_string(),
            1 => format!("cta {thread},gpu 0"),
            _ => format!("cta 0,gpu {thread}"),
        }
    }

    /// Whether operations of this scope (an index of [`SCOPES`]) include the other threads.
    fn within(self, scope: usize) -> bool {
        scope >= self.0
    }
}

struct Shapes {
    decided: Cell<usize>,
}

impl Shapes {
    fn new() -> Self {
        Self { decided: Cell::new(0) }
    }

    /// Asks whether the condition can be met, and compares with what it should be.
    fn check(&self, apart: Apart, threads: &[Vec<String>], condition: &str, allowed: bool, why: &str) {
        let heads: Vec<String> =
            (0..threads.len()).map(|thread| format!("P{thread}@{}", apart.place(thread))).collect();
        let rows = threads.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |thread: &Vec<String>, row: usize| thread.get(row).cloned().unwrap_or_default();
        let row = |row: usize| threads.iter().map(|thread| cell(thread, row)).collect::<Vec<_>>().join(" | ");
        let body: Vec<String> = (0..rows).map(|i| format!("{} ;", row(i))).collect();
        let text = format!(
            "PTX shape\n{{ x=0; y=0; z=0; }}\n{} ;\n{}\nexists ({condition})\n",
            heads.join(" | "),
            body.join("\n")
        );
        let test = parse("shape", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let report = run(&test, &Options::default());
        let expected = if allowed { Verdict::Holds } else { Verdict::Fails };
        assert_eq!(report.verdict, expected, "{why}\n{text}");
        self.decided.set(self.decided.get() + 1);
    }

    fn done(&self, shape: &str, least: usize) {
        println!("{shape}: {} tests", self.decided.get());
        assert!(self.decided.get() >= least);
    }
}

/// Every distance and every scope for either side; the last value says whether both scopes reach.
fn sides() -> impl Iterator<Item = (Apart, &'static str, &'static str, bool)> {
    (0..27).map(|i| {
        let (apart, a, b) = (Apart(i / 9), i / 3 % 3, i % 3);
        (apart, SCOPES[a], SCOPES[b], apart.within(a) && apart.within(b))
    })
}

fn words(lines: &[&str], scope: &str) -> Vec<String> {
    lines.iter().map(|line| line.replace("SCOPE", scope)).collect()
}

/// Ways to publish `y` after what came before: lines, and whether they release.
const PUBLISH: [(&[&str], bool); 10] = [
    (&["st.weak y, 1"], false),
    (&["st.relaxed.SCOPE y, 1"], false),
    (&["st.release.SCOPE y, 1"], true),
    (&["fence.acq_rel.SCOPE", "st.relaxed.SCOPE y, 1"], true),
    (&["fence.sc.SCOPE", "st.relaxed.SCOPE y, 1"], true),
    (&["fence.release.SCOPE", "st.relaxed.SCOPE y, 1"], true),
    (&["fence.acquire.SCOPE", "st.relaxed.SCOPE y, 1"], false),
    (&["fence.acq_rel.SCOPE", "st.weak y, 1"], false),
    (&["atom.release.SCOPE.exch r9, y, 1"], true),
    (&["red.relaxed.SCOPE.add y, 1"], false),
];

/// Ways to observe `y` before what comes after, and whether they acquire.
const OBSERVE: [(&[&str], bool); 10] = [
    (&["ld.weak r0, y"], false),
    (&["ld.relaxed.SCOPE r0, y"], false),
    (&["ld.acquire.SCOPE r0, y"], true),
    (&["ld.relaxed.SCOPE r0, y", "fence.acq_rel.SCOPE"], true),
    (&["ld.relaxed.SCOPE r0, y", "fence.sc.SCOPE"], true),
    (&["ld.relaxed.SCOPE r0, y", "fence.acquire.SCOPE"], true),
    (&["ld.relaxed.SCOPE r0, y", "fence.release.SCOPE"], false),
    (&["ld.weak r0, y", "fence.acq_rel.SCOPE"], false),
    (&["atom.acquire.SCOPE.or r0, y, 0"], true),
    (&["atom.acq_rel.SCOPE.cas r0, y, 1, 2"], true),
];

#[test]
fn message_passing() {
    let shapes = Shapes::new();
    for (apart, a, b, reach) in sides() {
        for (publish, releases) in PUBLISH {
            for (observe, acquires) in OBSERVE {
                let writer = [vec!["st.weak x, 1".to_string()], words(publish, a)].concat();
                let reader = [words(observe, b), vec!["ld.weak r1, x".to_string()]].concat();
                let allowed = !(releases && acquires && reach);
                let why = "forbidden exactly where a release pattern meets an acquire pattern, morally strong";
                shapes.check(apart, &[writer, reader], "P1:r0 == 1 /\\ P1:r1 == 0", allowed, why);
            }
        }
    }
    shapes.done("message passing", 2700);
}

#[test]
fn message_passing_with_fences_of_other_scopes() {
    let shapes = Shapes::new();
    for (apart, flag, fence, reach) in sides() {
        for kind in ["acq_rel", "sc"] {
            let lines =
                |lines: &[&str]| lines.iter().map(|line| line.replace("FLAG", flag).replace("FENCE", fence)).collect();
            let fenced = format!("fence.{kind}.FENCE");
            let writer = lines(&["st.weak x, 1", &fenced, "st.relaxed.FLAG y, 1"]);
            let reader = lines(&["ld.relaxed.FLAG r0, y", &fenced, "ld.weak r1, x"]);
            // fence.sc order by themselves: the reader's fence cannot come first once it has seen the flag.
            let fences = SCOPES.iter().position(|scope| *scope == fence).is_some_and(|scope| apart.within(scope));
            let allowed = if kind == "sc" { !fences } else { !reach };
            let why = "forbidden exactly where fence.sc, or flag and fences both, include the other thread";
            shapes.check(apart, &[writer, reader], "P1:r0 == 1 /\\ P1:r1 == 0", allowed, why);
        }
    }
    shapes.done("message passing, fences of other scopes", 54);
}

#[test]
fn store_buffering_and_two_plus_two_writes() {
    let shapes = Shapes::new();
    for (apart, a, b, reach) in sides() {
        for fence in ["", "fence.acq_rel.SCOPE", "fence.sc.SCOPE"] {
            for order in ["weak", "relaxed.SCOPE"] {
                let allowed = !(fence.contains(".sc.") && reach);
                let why = "forbidden exactly where both fences are fence.sc and morally strong";
                let buffer = |to: &str, from: &str, scope: &str| {
                    words(&[&format!("st.{order} {to}, 1"), fence, &format!("ld.{order} r0, {from}")], scope)
                };
                let threads = [buffer("x", "y", a), buffer("y", "x", b)];
                shapes.check(apart, &threads, "P0:r0 == 0 /\\ P1:r0 == 0", allowed, why);
                let write = |first: &str, second: &str, scope: &str| {
                    words(&[&format!("st.{order} {first}, 1"), fence, &format!("st.{order} {second}, 2")], scope)
                };
                shapes.check(apart, &[write("x", "y", a), write("y", "x", b)], "x == 1 /\\ y == 1", allowed, why);
            }
        }
    }
    shapes.done("store buffering, 2+2W", 320);
}

#[test]
fn load_buffering() {
    let shapes = Shapes::new();
    let loads = ["weak", "relaxed.SCOPE", "acquire.SCOPE"];
    let stores = ["weak", "relaxed.SCOPE", "release.SCOPE"];
    for (apart, a, b, reach) in sides() {
        for i in 0..81 {
            let (l0, s0, l1, s1) = (loads[i % 3], stores[i / 3 % 3], loads[i / 9 % 3], stores[i / 27]);
            let thread = |load: &str, store: &str, from: &str, to: &str, scope: &str| {
                words(&[&format!("ld.{load} r0, {from}"), &format!("st.{store} {to}, 1")], scope)
            };
            let synchronizes = |store: &str, load: &str| store.contains("release") && load.contains("acquire");
            let allowed = !(reach && (synchronizes(s0, l1) || synchronizes(s1, l0)));
            let why = "forbidden exactly where one of the two hops synchronizes";
            let threads = [thread(l0, s0, "x", "y", a), thread(l1, s1, "y", "x", b)];
            shapes.check(apart, &threads, "P0:r0 == 1 /\\ P1:r0 == 1", allowed, why);
        }
    }
    shapes.done("load buffering", 2187);
}

#[test]
fn coherence_of_reads() {
    let shapes = Shapes::new();
    let loads = ["weak", "relaxed.SCOPE", "acquire.SCOPE"];
    for (apart, a, b, reach) in sides() {
        for store in ["weak", "relaxed.SCOPE", "release.SCOPE"] {
            for i in 0..9 {
                let (first, second) = (loads[i % 3], loads[i / 3]);
                let writer = words(&[&format!("st.{store} x, 1")], a);
                let reader = words(&[&format!("ld.{first} r0, x"), &format!("ld.{second} r1, x")], b);
                let allowed = !(reach && store != "weak" && first != "weak");
                let why = "forbidden exactly where the first load is morally strong with the store";
                shapes.check(apart, &[writer, reader], "P1:r0 == 1 /\\ P1:r1 == 0", allowed, why);
            }
        }
    }
    shapes.done("CoRR", 729);
}

#[test]
fn three_thread_chains() {
    let shapes = Shapes::new();
    for (apart, a, b, reach) in sides() {
        for i in 0..16 {
            let strong = if i & 1 == 1 { "relaxed.SCOPE" } else { "weak" };
            let release = if i & 2 == 2 { "release" } else { "relaxed" };
            let acquire = if i & 4 == 4 { "acquire" } else { "relaxed" };
            let middle = if i & 8 == 8 { "acquire" } else { "relaxed" };
            let synchronizes = release == "release" && acquire == "acquire";
            // Write-to-read causality: T0 writes x, T1 sees it and writes y, T2 sees that and reads x.
            let first = words(&[&format!("st.{strong} x, 1")], a);
            let second = words(&[&format!("ld.{middle}.SCOPE r0, x"), &format!("st.{release}.SCOPE y, 1")], b);
            let third = words(&[&format!("ld.{acquire}.SCOPE r0, y"), "ld.weak r1, x"], a);
            let allowed = !(reach && strong != "weak" && synchronizes);
            let why = "forbidden exactly where T1 observes x and the second hop synchronizes";
            let condition = "P1:r0 == 1 /\\ P2:r0 == 1 /\\ P2:r1 == 0";
            shapes.check(apart, &[first, second, third], condition, allowed, why);
            // ISA2: T0 writes x and publishes y, T1 sees y and publishes z, T2 sees z and reads x.
            let first = words(&["st.weak x, 1", &format!("st.{release}.SCOPE y, 1")], a);
            let second = words(&[&format!("ld.{middle}.SCOPE r0, y"), "st.release.SCOPE z, 1"], b);
            let third = words(&[&format!("ld.{acquire}.SCOPE r0, z"), "ld.weak r1, x"], a);
            let allowed = !(reach && synchronizes && middle == "acquire");
            let why = "forbidden exactly where both hops synchronize";
            shapes.check(apart, &[first, second, third], condition, allowed, why);
        }
    }
    shapes.done("WRC, ISA2", 860);
}

#[test]
fn independent_reads_of_independent_writes() {
    let shapes = Shapes::new();
    for (apart, a, b, reach) in sides() {
        for fence in ["", "fence.acq_rel.SCOPE", "fence.sc.SCOPE"] {
            for load in ["relaxed", "acquire"] {
                let reader = |first: &str, second: &str| {
                    words(
                        &[&format!("ld.{load}.SCOPE r0, {first}"), fence, &format!("ld.{load}.SCOPE r1, {second}")],
                        b,
                    )
                };
                let writer = |to: &str| words(&[&format!("st.release.SCOPE {to}, 1")], a);
                let allowed = !(fence.contains(".sc.") && reach);
                let condition = "P2:r0 == 1 /\\ P2:r1 == 0 /\\ P3:r0 == 1 /\\ P3:r1 == 0";
                let threads = [writer("x"), writer("y"), reader("x", "y"), reader("y", "x")];
                shapes.check(apart, &threads, condition, allowed, "forbidden exactly between morally strong fence.sc");
            }
        }
    }
    shapes.done("IRIW", 162);
}
