//! Files with words lost, doubled or exchanged are read or refused; what is read is decided. Nothing panics.
//!
//! `LITMUS_SEED=N` tries one seed.

#[path = "shared/draw.rs"]
mod draw;
#[path = "shared/files.rs"]
mod files;

use draw::Random;
use files::files;
use warpferry_litmus::{parse, run, Options};

/// The words and signs of a text, each with the blanks behind it.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':');
        let word = rest.find(|c| !inside(c)).unwrap_or(rest.len()).max(rest.chars().next().map_or(0, char::len_utf8));
        let blank = rest[word..].len() - rest[word..].trim_start().len();
        words.push(&rest[..word + blank]);
        rest = &rest[word + blank..];
    }
    words
}

fn damaged(text: &str, seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut below = |limit: usize| random.below(limit.max(1));
    let mut words = words(text);
    for _ in 0..1 + below(3) {
        let (a, b) = (below(words.len()), below(words.len()));
        match below(4) {
            0 => drop(words.remove(a)),
            1 => words.insert(b, words[a]),
            2 => words.swap(a, b),
            _ => words[a] = words[b],
        }
    }
    words.concat()
}

#[test]
fn damaged_files_are_read_or_refused() {
    let one = std::env::var("LITMUS_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let files = files();
    let options = Options { budget: 300, ..Options::default() };
    let (mut read, mut refused) = (0, 0);
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a readable file");
        for seed in one.map_or(1..41, |seed| seed..seed + 1) {
            let damaged = damaged(&text, seed);
            let outcome = std::panic::catch_unwind(|| match parse("damaged", &damaged) {
                Ok(test) => {
                    run(&test, &options);
                    true
                }
                Err(error) => {
                    assert!(error.line > 0 && !error.message.is_empty(), "{error}");
                    false
                }
            });
            match outcome {
                Ok(true) => read += 1,
                Ok(false) => refused += 1,
                Err(_) => panic!(
                    "LITMUS_SEED={seed} cargo test -p warpferry-litmus --test garbage\n{}\n{damaged}",
                    file.display()
                ),
            }
        }
    }
    println!("{read} damaged files were read, {refused} refused");
    assert!(one.is_some() || read >= 400 && refused >= 400, "{read} read, {refused} refused");
}

#[test]
fn deep_conditions_are_refused() {
    let text = std::fs::read_to_string(files::folder().join("mp-fences-relaxed-flag.litmus"));
    let text = text.expect("a readable file");
    let (head, _) = text.split_at(text.rfind("exists").expect("a test asks"));
    let ask = |question: &str| parse("deep", &format!("{head}exists ({question})\n"));
    let many = 100_000;
    for question in [
        format!("{}1=1{}", "(".repeat(many), ")".repeat(many)),
        format!("{}(1=1)", "~".repeat(many)),
        format!("1=1{}", r" /\ 1=1".repeat(many)),
        format!("1=1{}", r" \/ 1=1".repeat(many)),
    ] {
        let error = ask(&question).expect_err("too many parts");
        assert!(error.message.contains("more than 1000"), "{error}");
    }
    let wide = format!("1=1{}", r" /\ 1=1".repeat(500));
    assert!(ask(&wide).is_ok(), "{:?}", ask(&wide).err());
}

#[test]
fn an_expectation_is_understood_or_refused() {
    let text = std::fs::read_to_string(files::folder().join("mp-fences-relaxed-flag.litmus")).expect("a readable file");
    let text = text.replace("expect: holds", "").replace("race: none", "");
    let with = |comment: &str| parse("asks", &text.replacen('{', &format!("(* {comment} *)\n{{"), 1));
    for (comment, valid) in [("expect: yes", "holds"), ("liveness: ok", "terminates"), ("race: 1", "some")] {
        let error = with(comment).expect_err("a word that is no expectation");
        assert!(error.message.contains(comment) && error.message.contains(valid), "{error}");
    }
    // One key that is understood makes the others count.
    for (comment, valid) in [("expcet: fails. race: some", "expect:"), ("expect: fails. liveness: maybe", "terminates")]
    {
        let error = with(comment).expect_err("a comment of which a part is no expectation");
        assert!(error.message.contains(valid), "{error}");
    }
    assert!(with("the reader may expect: nothing").is_ok(), "a sentence is no expectation");
}

/// What is not declared, or not written, counts as 0, as in the suites; it may be a slip of the pen, and is told.
#[test]
fn what_counts_as_zero_is_told() {
    let text = |initial: &str, last: &str, asked: &str| {
        format!(
            "PTX asks\n{{ {initial} }}\n P0@cta 0,gpu 0 | P1@cta 1,gpu 0 ;\n st.weak x, 1 | ld.weak r0, y ;\n \
             st.weak y, 1 | ld.weak r1, {last} ;\nexists (P1:r0 == 1 /\\ P1:{asked} == 0)\n"
        )
    };
    let assumed = |text: &str| parse("asks", text).unwrap_or_else(|error| panic!("{error}")).assumed;
    assert!(assumed(&text("x=0; y=0;", "x", "r1")).is_empty());
    let told = assumed(&text("x=0; y=0;", "X", "r7"));
    assert!(told.len() == 2 && told[0].contains("`X`") && told[1].contains("P1:r7"), "{told:?}");
    assert!(assumed(&text("", "x", "r1")).is_empty(), "where nothing is declared nothing is missing");
}
