//! Properties of the model over random programs. A failure prints the seed and the program.
//!
//! `LITMUS_SEED=N` runs one seed, `LITMUS_PROGRAMS=N` that many.

use std::collections::BTreeSet;

#[path = "shared/draw.rs"]
mod draw;

use draw::Random;
use warpferry_litmus::{interleavings, parse, run, Options, Test, Verdict};

const SCOPES: [&str; 3] = ["cta", "gpu", "sys"];
const PLACES: [&str; 4] = ["cta 0,gpu 0", "cta 0,gpu 0", "cta 1,gpu 0", "cta 0,gpu 1"];
const LOAD_ORDERS: [&str; 3] = ["weak", "relaxed", "acquire"];
const STORE_ORDERS: [&str; 3] = ["weak", "relaxed", "release"];
const ATOMIC_ORDERS: [&str; 4] = ["relaxed", "acquire", "release", "acq_rel"];
const FENCE_ORDERS: [&str; 4] = ["acquire", "release", "acq_rel", "sc"];

#[derive(Debug, Clone)]
enum Op {
    Load { order: usize, scope: usize, register: usize, location: usize },
    Store { order: usize, scope: usize, location: usize, value: usize },
    Copy { order: usize, scope: usize, location: usize, register: usize },
    Atomic { order: usize, scope: usize, location: usize, register: usize, exchange: bool, value: usize },
    Fence { order: usize, scope: usize },
    ProxyFence { which: usize },
}

impl Op {
    fn text(&self) -> String {
        let place = |location: usize| ["x", "y", "alias", "surface"][location];
        let surface = |location: usize| if location == 3 { "su" } else { "" };
        let access = |order: &str, scope: usize| match order {
            "weak" => "weak".to_string(),
            order => format!("{order}.{}", SCOPES[scope]),
        };
        match *self {
            Self::Load { order, scope, register, location } => {
                format!(
                    "{}ld.{} r{register}, {}",
                    surface(location),
                    access(LOAD_ORDERS[order], scope),
                    place(location)
                )
            }
            Self::Store { order, scope, location, value } => {
                format!("{}st.{} {}, {value}", surface(location), access(STORE_ORDERS[order], scope), place(location))
            }
            Self::Copy { order, scope, location, register } => {
                format!(
                    "{}st.{} {}, r{register}",
                    surface(location),
                    access(STORE_ORDERS[order], scope),
                    place(location)
                )
            }
            Self::Atomic { order, scope, location, register, exchange, value } => {
                let (order, operation) = (ATOMIC_ORDERS[order], if exchange { "exch" } else { "add" });
                let surface = surface(location);
                format!("{surface}atom.{order}.{}.{operation} r{register}, {}, {value}", SCOPES[scope], place(location))
            }
            Self::ProxyFence { which } => format!("fence.proxy.{}", ["alias", "surface", "texture"][which]),
            Self::Fence { order, scope } => format!("fence.{}.{}", FENCE_ORDERS[order], SCOPES[scope]),
        }
    }

    /// One step weaker in order or in scope; none where it is weakest.
    fn weaker(&self, random: &mut Random) -> Option<Self> {
        let mut weaker = self.clone();
        let narrow = random.below(2) == 0;
        match &mut weaker {
            Self::Load { order, scope, .. } | Self::Store { order, scope, .. } | Self::Copy { order, scope, .. } => {
                if narrow && *scope > 0 && *order > 0 {
                    *scope -= 1;
                } else {
                    *order = order.checked_sub(1)?;
                }
            }
            Self::Atomic { order, scope, .. } => {
                if narrow {
                    *scope = scope.checked_sub(1)?;
                } else {
                    // Acquire and release are each weaker than both and stronger than relaxed.
                    *order = match *order {
                        0 => return None,
                        3 => 1 + random.below(2),
                        _ => 0,
                    };
                }
            }
            Self::ProxyFence { .. } => return None,
            Self::Fence { order, scope } => {
                if narrow {
                    *scope = scope.checked_sub(1)?;
                } else {
                    *order = match *order {
                        3 => 2,
                        2 => random.below(2),
                        _ => return None,
                    };
                }
            }
        }
        Some(weaker)
    }
}

#[derive(Debug, Clone)]
struct Program {
    places: Vec<&'static str>,
    threads: Vec<Vec<Op>>,
}

impl Program {
    fn random(random: &mut Random) -> Self {
        let threads = 2 + random.below(2);
        let most = if threads == 2 { 4 } else { 3 };
        let places = (0..threads).map(|_| PLACES[random.below(PLACES.len())]).collect();
        let ops = |random: &mut Random| {
            let length = 1 + random.below(most);
            (0..length).map(|i| Self::op(i, random)).collect()
        };
        Self { places, threads: (0..threads).map(|_| ops(random)).collect() }
    }

    fn op(register: usize, random: &mut Random) -> Op {
        let (scope, value) = (random.below(3), 1 + random.below(2));
        // Other proxies and aliases are rarer than what they are compared with.
        let location = [0, 0, 0, 1, 1, 1, 0, 1, 2, 3][random.below(10)];
        match random.below(11) {
            0..=3 => Op::Load { order: random.below(3), scope, register, location },
            4..=6 => Op::Store { order: random.below(3), scope, location, value },
            7 if register > 0 => Op::Copy { order: random.below(3), scope, location, register: random.below(register) },
            8 => {
                Op::Atomic { order: random.below(4), scope, location, register, exchange: random.below(2) == 0, value }
            }
            9 => Op::ProxyFence { which: random.below(3) },
            _ => Op::Fence { order: random.below(4), scope },
        }
    }

    /// The program with its columns in this order.
    fn text(&self, columns: &[usize]) -> String {
        let heads: Vec<String> = columns.iter().map(|&i| format!("P{i}@{}", self.places[i])).collect();
        let rows = self.threads.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |thread: usize, row: usize| self.threads[thread].get(row).map_or(String::new(), Op::text);
        let line = |row: usize| columns.iter().map(|&i| cell(i, row)).collect::<Vec<_>>().join(" | ");
        let body: Vec<String> = (0..rows).map(|row| format!(" {} ;", line(row))).collect();
        let registers = (0..self.threads.len()).flat_map(|i| (0..4).map(move |r| format!("P{i}:r{r};")));
        let locations = format!("locations [{} x; y;]", registers.collect::<String>());
        format!(
            "PTX random\n{{ x=0; y=0; alias @ generic aliases x; surface @ surface aliases x; }}\n {} ;\n{}\n{locations}\nexists (true)\n",
            heads.join(" | "),
            body.join("\n")
        )
    }

    fn straight(&self) -> String {
        self.text(&(0..self.threads.len()).collect::<Vec<_>>())
    }
}

type States = BTreeSet<Vec<(String, i64)>>;

fn states(text: &str) -> (Test, States) {
    states_with(text, &Options::default())
}

fn states_with(text: &str, options: &Options) -> (Test, States) {
    let test = parse("random", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let report = run(&test, options);
    assert_eq!(report.verdict, Verdict::Holds, "not all states were found:\n{text}");
    let named = |values: &Vec<i64>| -> Vec<(String, i64)> {
        let mut named: Vec<_> = report.variables.iter().cloned().zip(values.iter().copied()).collect();
        named.sort();
        named
    };
    let states = report.states.iter().map(|state| named(&state.values)).collect();
    (test, states)
}

fn sequential(test: &Test) -> States {
    let names: Vec<String> = test.observed().into_iter().map(|variable| test.variable_name(variable)).collect();
    let named = |values: Vec<i64>| -> Vec<(String, i64)> {
        let mut named: Vec<_> = names.iter().cloned().zip(values).collect();
        named.sort();
        named
    };
    interleavings(test, 1_000_000).expect("small programs without barriers").into_iter().map(named).collect()
}

/// Runs a property over random programs; `check` gives what is wrong.
fn for_programs(default: u64, check: impl Fn(&Program, &mut Random) -> Result<(), String>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("LITMUS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("LITMUS_PROGRAMS").unwrap_or(default) + 1,
    };
    for seed in seeds {
        let mut random = Random::new(seed);
        let program = Program::random(&mut random);
        if let Err(wrong) = check(&program, &mut random) {
            panic!("LITMUS_SEED={seed} cargo test -p warpferry-litmus --test properties\n{wrong}");
        }
    }
}

fn subset(smaller: &States, larger: &States, texts: [&str; 2], why: &str) -> Result<(), String> {
    match smaller.difference(larger).next() {
        None => Ok(()),
        Some(state) => Err(format!("{why}: {state:?}\n{}\n{}", texts[0], texts[1])),
    }
}

#[test]
fn weaker_programs_lose_no_outcome() {
    for_programs(1500, |program, random| {
        let strong = program.straight();
        let (thread, at) = {
            let thread = random.below(program.threads.len());
            (thread, random.below(program.threads[thread].len()))
        };
        let Some(weaker) = program.threads[thread][at].weaker(random) else { return Ok(()) };
        let mut weak = program.clone();
        weak.threads[thread][at] = weaker;
        let weak = weak.straight();
        subset(&states(&strong).1, &states(&weak).1, [&strong, &weak], "lost by weakening")
    });
}

#[test]
fn fences_add_no_outcome() {
    for_programs(1500, |program, random| {
        let plain = program.straight();
        let mut fenced = program.clone();
        let thread = random.below(fenced.threads.len());
        let at = random.below(fenced.threads[thread].len() + 1);
        let fence = match random.below(3) {
            0 => Op::ProxyFence { which: random.below(3) },
            _ => Op::Fence { order: random.below(4), scope: random.below(3) },
        };
        fenced.threads[thread].insert(at, fence);
        let fenced = fenced.straight();
        subset(&states(&fenced).1, &states(&plain).1, [&fenced, &plain], "added by a fence")
    });
}

#[test]
fn interleavings_are_always_allowed() {
    for_programs(1500, |program, _| {
        let text = program.straight();
        let (test, allowed) = states(&text);
        subset(&sequential(&test), &allowed, [&text, ""], "an interleaving that the model forbids")
    });
}

#[test]
fn sc_fences_everywhere_give_interleavings() {
    for_programs(800, |program, _| {
        let mut strong = program.clone();
        for thread in &mut strong.threads {
            let ops = std::mem::take(thread);
            for mut op in ops {
                match &mut op {
                    Op::Fence { .. } | Op::ProxyFence { .. } => continue,
                    Op::Load { order, scope, location, .. }
                    | Op::Store { order, scope, location, .. }
                    | Op::Copy { order, scope, location, .. } => {
                        (*order, *scope, *location) = (1, 2, *location % 2);
                    }
                    Op::Atomic { order, scope, location, .. } => (*order, *scope, *location) = (0, 2, *location % 2),
                }
                if !thread.is_empty() {
                    thread.push(Op::Fence { order: 3, scope: 2 });
                }
                thread.push(op);
            }
        }
        let text = strong.straight();
        let (test, allowed) = states(&text);
        let sequential = sequential(&test);
        subset(&sequential, &allowed, [&text, ""], "an interleaving that the model forbids")?;
        subset(&allowed, &sequential, [&text, ""], "no interleaving gives")
    });
}

#[test]
fn columns_may_come_in_any_order() {
    for_programs(500, |program, random| {
        let mut columns: Vec<usize> = (0..program.threads.len()).collect();
        let turn = 1 + random.below(columns.len() - 1);
        columns.rotate_left(turn);
        let (straight, turned) = (program.straight(), program.text(&columns));
        let (a, b) = (states(&straight).1, states(&turned).1);
        subset(&a, &b, [&straight, &turned], "lost by the order of columns")?;
        subset(&b, &a, [&turned, &straight], "added by the order of columns")
    });
}

#[test]
fn shortcuts_leave_nothing_out() {
    for_programs(1000, |program, _| {
        let text = program.straight();
        let every = states_with(&text, &Options { shortcuts: false, ..Options::default() }).1;
        subset(&every, &states(&text).1, [&text, ""], "left out by a shortcut")
    });
}
