//! Random programs. A failure prints its seed and the program; `LITMUS_SEED=N` runs one, `LITMUS_PROGRAMS=N` that many.

use warpferry_litmus::{parse, run, Liveness, Options};

#[path = "../../../litmus/tests/shared/draw.rs"]
mod draw;

use crate::{compare, Compared};
use draw::Random;

fn pick<'a>(random: &mut Random, of: &[&'a str]) -> &'a str {
    of[random.below(of.len())]
}

fn program(places: &[&str], threads: &[Vec<String>], initial: &str) -> String {
    let heads: Vec<String> = places.iter().enumerate().map(|(i, place)| format!("P{i}@{place}")).collect();
    let rows = threads.iter().map(Vec::len).max().unwrap_or(0);
    let row = |row: usize| {
        threads.iter().map(|thread| thread.get(row).map_or("", String::as_str)).collect::<Vec<_>>().join(" | ")
    };
    let body: Vec<String> = (0..rows).map(|i| format!(" {} ;", row(i))).collect();
    format!("PTX random\n{{ {initial} }}\n {} ;\n{}\nexists (true)\n", heads.join(" | "), body.join("\n"))
}

/// Makes programs and compares; at least this many must be racy, and as many race-free.
fn for_programs(what: &str, default: u64, least: usize, make: impl Fn(&mut Random) -> String) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("LITMUS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("LITMUS_PROGRAMS").unwrap_or(default) + 1,
    };
    let all = seeds.end - seeds.start > 1;
    let (mut racy, mut clean, mut stuck) = (0, 0, 0);
    for seed in seeds {
        let text = make(&mut Random::new(seed));
        let test = parse("random", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        // Only executions that end have races in the model.
        let report = run(&test, &Options::default());
        if !matches!(report.liveness, None | Some(Liveness::Terminates)) {
            stuck += 1;
            continue;
        }
        let most = if report.race.is_some() { 400 } else { 12 };
        match compare(&test, most) {
            Compared::Agree(true) => racy += 1,
            Compared::Agree(false) => clean += 1,
            Compared::Differ(how) => {
                let replay = "cargo test -p warpferry-litmus-play --test detector random";
                panic!("LITMUS_SEED={seed} {replay}::{what}\n{how}\n{text}");
            }
            Compared::LeftOut(why) => panic!("seed {seed}: {why}\n{text}"),
        }
    }
    println!("{what}: {racy} racy and {clean} race-free programs agree; {stuck} that may not end were left out");
    assert!(!all || (racy >= least && clean >= least), "{racy} racy, {clean} race-free, {stuck} left out");
}

const SCOPES: [&str; 3] = ["cta", "gpu", "sys"];
const PLACES: [&str; 5] = ["cta 0,gpu 0", "cta 0,gpu 0", "cta 1,gpu 0", "cta 0,gpu 1", "cta 0,gpu 0"];

/// Loads, stores, atomics and fences of every order and scope, at every distance.
#[test]
fn accesses_and_fences() {
    for_programs("accesses_and_fences", 150, 25, |random| {
        let count = 2 + random.below(2);
        let places: Vec<&str> = (0..count).map(|_| pick(random, &PLACES)).collect();
        let mut threads = Vec::new();
        // Scopes that mostly suffice: else nearly all programs are racy.
        let apart = places.iter().any(|place| !place.ends_with("gpu 0"));
        let scope = |random: &mut Random| match random.below(6) {
            0 => pick(random, &SCOPES),
            _ if apart => "sys",
            _ => "gpu",
        };
        for i in 0..count {
            let mut lines = Vec::new();
            for at in 0..1 + random.below(4) {
                let of = scope(random);
                lines.push(match random.below(14) {
                    0 | 1 if i == 0 => "st.weak x, 1".to_string(),
                    0 => format!("ld.weak r{at}, x"),
                    1 => format!("ld.relaxed.{of} r{at}, x"),
                    2 => format!("st.{}.{of} x, 2", pick(random, &["relaxed", "release"])),
                    3 | 4 => format!("st.release.{of} y, 1"),
                    5 => format!("st.relaxed.{of} y, 1"),
                    6 | 7 => format!("S{at}: ld.acquire.{of} r{at}, y\nbeq r{at}, 0, S{at}"),
                    8 => format!("S{at}: ld.relaxed.{of} r{at}, y\nbeq r{at}, 0, S{at}"),
                    9 => format!("atom.{}.{of}.add r{at}, y, 1", pick(random, &["relaxed", "acq_rel", "acquire"])),
                    10 => format!("red.{}.{of}.add y, 1", pick(random, &["relaxed", "release"])),
                    11 => format!("fence.sc.{of}"),
                    _ => format!("fence.acq_rel.{of}"),
                });
            }
            threads.push(lines.iter().flat_map(|line| line.split('\n').map(String::from)).collect::<Vec<_>>());
        }
        program(&places, &threads, "x=0; y=0;")
    });
}

const LOAD: &str = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes";
const STORE: &str = "cp.async.bulk.global.shared::cta.bulk_group";

/// Bulk copies between generic accesses, with waits and fences of all kinds, in one warp or in two.
#[test]
fn bulk_copies() {
    for_programs("bulk_copies", 150, 25, |random| {
        let places = match random.below(3) {
            0 => ["warp 0,cta 0,gpu 0", "warp 0,cta 0,gpu 0"],
            1 => ["warp 0,cta 0,gpu 0", "warp 1,cta 0,gpu 0"],
            _ => ["cta 0,gpu 0", "cta 1,gpu 0"],
        };
        let near = places[1].ends_with("cta 0,gpu 0");
        let mut first: Vec<String> = Vec::new();
        let mut loads = false;
        let fence = |random: &mut Random| {
            let all =
                ["fence.proxy.async", "fence.proxy.async.shared::cta", "fence.proxy.async.global", "fence.acq_rel.gpu"];
            pick(random, &all).to_string()
        };
        let wait = |random: &mut Random| {
            let order = pick(random, &["acquire", "acquire", "relaxed"]);
            format!("mbarrier.try_wait.parity.{order}.cta.shared::cta.b64")
        };
        for at in 0..2 + random.below(4) {
            match random.below(10) {
                0 => first.push("st.weak stage, 1".to_string()),
                1 => first.push(format!("ld.weak r{at}, stage")),
                2 => first.push("st.weak in, 2".to_string()),
                3 if !loads => {
                    loads = true;
                    let order = pick(random, &["release", "relaxed"]);
                    first.push(format!("mbarrier.arrive.expect_tx.{order}.cta.shared::cta.b64 _, bar, 16"));
                    first.push(format!("{LOAD} stage, in, 16, bar"));
                }
                4 if loads => {
                    first.push(format!("W{at}: {} r{at}, bar, 0", wait(random)));
                    first.push(format!("beq r{at}, 0, W{at}"));
                }
                5 => first.push(format!("{STORE} {}, stage, 16", pick(random, &["out", "in"]))),
                6 | 7 => {
                    let read = pick(random, &["", ".read"]);
                    first.push("cp.async.bulk.commit_group".to_string());
                    first.push(format!("cp.async.bulk.wait_group{read} {}", random.below(2)));
                }
                _ => first.push(fence(random)),
            }
        }
        first.push(format!("st.{} flag, 1", pick(random, &["release.gpu", "release.gpu", "relaxed.gpu"])));
        let mut second = vec!["F: ld.acquire.gpu r8, flag".to_string(), "beq r8, 0, F".to_string()];
        if near && loads && random.below(2) == 0 {
            second.push(format!("W: {} r9, bar, 0", wait(random)));
            second.push("beq r9, 0, W".to_string());
        }
        if random.below(2) == 0 {
            second.push(fence(random));
        }
        second.push(match random.below(5) {
            0 => "ld.weak r10, out".to_string(),
            1 => "st.weak in, 3".to_string(),
            2 if near => "ld.weak r10, stage".to_string(),
            3 if near => format!("{STORE} out, stage, 16"),
            _ => format!("{STORE} out, other, 16"),
        });
        let initial = "stage=0 @ shared; other=5 @ shared; in=4; out=0; flag=0; bar @ mbarrier 1;";
        program(&places, &[first, second], initial)
    });
}
