//! Files of a search: journals that go on, outcomes that are read again.

use std::path::PathBuf;

use super::*;

/// A file of this test that is not there.
fn fresh(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("warpferry-tune-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for tests");
    let path = folder.join(name);
    let _ = std::fs::remove_file(&path);
    path
}

/// Method: a search is cut after some measurements, and in the middle of a line; the next one goes on. It gives what one
/// that was never cut gives, and measures no more than what was missing.
#[test]
fn a_cut_search_goes_on_and_gives_the_same() {
    let space = whole(&H800, 2, 8, 4096);
    let whole = {
        let mut surface = Surface::new(H800);
        let outcome = Search::new(&space, "uniform").run(&mut surface).unwrap_or_else(|error| panic!("{error}"));
        (outcome, surface.timed)
    };
    for cut in [1, 20, 77] {
        let path = fresh(&format!("cut-{cut}.jsonl"));
        let mut surface = Surface { fails_behind: Some(cut), ..Surface::new(H800) };
        Search::new(&space, "uniform").journal(&path).run(&mut surface).expect_err("the measure ends");
        let text = std::fs::read_to_string(&path).expect("a journal");
        let kept = text.lines().count() as u64 - 1;
        std::fs::write(&path, format!("{text}{{\"op\":\"disp")).expect("written");
        let mut surface = Surface::new(H800);
        let again = Search::new(&space, "uniform").journal(&path).run(&mut surface);
        assert_eq!(again.unwrap_or_else(|error| panic!("{error}")), whole.0);
        assert_eq!(surface.timed + kept, whole.1);
        let mut surface = Surface::new(H800);
        let third = Search::new(&space, "uniform").journal(&path).run(&mut surface);
        assert_eq!((third.unwrap_or_else(|error| panic!("{error}")), surface.timed), (whole.0.clone(), 0));
    }
}

#[test]
fn a_journal_of_something_else_is_refused_by_name() {
    let path = fresh("other.jsonl");
    let space = small(&H800, 2, 8, 4096);
    let budget = Budget { points: 3, ..Budget::default() };
    let search = |space: &Space, gate: &str| {
        Search::new(space, gate).budget(budget).journal(&path).run(&mut Surface::new(H800)).map(|_| ())
    };
    search(&space, "uniform").expect("a new journal");
    search(&space, "uniform").expect("its own journal");
    let said = |result: crate::Result<()>| result.expect_err("refused").to_string();
    let text = said(search(&small(&H800, 4, 8, 4096), "uniform"));
    assert!(text.contains("another workload") && text.contains("2 x 8") && text.contains("4 x 8"), "{text}");
    assert!(said(search(&space, "zipf:1")).contains("another workload"));
    let other = Search::new(&space, "uniform").budget(budget).journal(&path);
    let machine = Machine { name: "h800-like-two", ..H800 };
    assert!(said(other.run(&mut Surface::new(machine)).map(|_| ())).contains("another measure"));
    let load = Load::Beside { bound: Bound::Memory, alone_us: 9.0 };
    let other = Search::new(&space, "uniform").budget(budget).journal(&path).load(load);
    assert!(said(other.run(&mut Surface::new(H800)).map(|_| ())).contains("another load"));
    let text = std::fs::read_to_string(&path).expect("a journal");
    std::fs::write(&path, text.replacen(env!("CARGO_PKG_VERSION"), "0.0.9", 1)).expect("written");
    assert!(said(search(&space, "uniform")).contains("another version: `0.0.9` there"));
    std::fs::write(&path, "no journal\n").expect("written");
    assert!(said(search(&space, "uniform")).contains("line 1 is no line of a journal"));
}

#[test]
fn an_outcome_is_read_as_it_was_written() {
    let space = small(&H800, 2, 8, 4096);
    let load = Load::Beside { bound: Bound::Arithmetic, alone_us: 700.5 };
    for (objective, load) in [(Objective::Alone(Ops::Combine), Load::Alone), (Objective::Beside, load)] {
        let outcome = run(&space, H800, objective, load);
        let toml = outcome.to_toml().expect("TOML");
        assert_eq!(Outcome::from_toml("a file", &toml).unwrap_or_else(|error| panic!("{error}")), outcome);
        let json = outcome.to_json().expect("JSON");
        assert_eq!(Outcome::from_json("a file", &json).unwrap_or_else(|error| panic!("{error}")), outcome);
        let later = toml.replacen("format = 1", "format = 7", 1);
        let said = Outcome::from_toml("a file", &later).expect_err("refused").to_string();
        assert!(said.contains("a file") && said.contains("format 7"), "{said}");
    }
}

#[test]
fn objectives_are_read_as_they_are_printed() {
    for text in ["alone", "dispatch", "combine", "beside", "least-sms:92.5"] {
        assert_eq!(text.parse::<Objective>().map(|objective| objective.to_string()), Ok(text.to_string()));
    }
    for text in ["", "least-sms", "least-sms:0", "least-sms:101", "least-sms:x", "best"] {
        let said = text.parse::<Objective>().expect_err("refused");
        assert!(said.contains("least-sms:PERCENT"), "{said}");
    }
}
