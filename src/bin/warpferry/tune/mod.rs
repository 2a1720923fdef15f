//! `tune`: searches the best settings for a machine, a world and a shape, and says why they are.

mod machine;
mod options;
mod plots;

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use warpferry::tune::store::Entry;
use warpferry::tune::{Budget, Measure, Outcome, Progress, Search, Space, Store};
use warpferry::{Error, Result, Tuning};

pub use options::TuneOptions;

use crate::output::{complain, say};

/// Runs the search; true when it found a setting.
pub fn run(options: &TuneOptions) -> Result<bool> {
    let space = options.space(machine::limits(&options.machine)?)?;
    let gate = options.gate()?;
    let mut measures = machine::measures_for(options, &space, &gate)?;
    let guess = guess(options, &space, &gate.class(), &mut measures.coarse)?;
    let outcome = search(options, &space, &gate.class(), vec![guess], &mut measures.fine, Some(&mut measures.finest))?;
    if let Some(path) = &options.out {
        write(path, &outcome)?;
    }
    if let Some(folder) = &options.plots {
        let files = plots::draw(&outcome, folder)?;
        files.iter().for_each(|file| complain(format_args!("plot     {}", file.display())));
    }
    if let Some(path) = &options.store {
        keep(path, &outcome)?;
    }
    if options.json {
        say(outcome.to_json()?);
    } else {
        say(outcome.to_string().trim_end());
    }
    Ok(true)
}

/// Points of the search that gives the guess; each takes next to nothing.
const GUESS_POINTS: u64 = 5000;

/// The best setting of a measure that answers at once.
fn guess(options: &TuneOptions, space: &Space, gate: &str, coarse: &mut dyn Measure) -> Result<Tuning> {
    let budget = Budget { points: GUESS_POINTS, time: Duration::from_secs(options.budget_s) };
    let search = Search::new(space, gate).objective(options.objective).load(options.load());
    search.budget(budget).seed(options.seed).run(coarse)?.setting.tuning()
}

fn search(
    options: &TuneOptions,
    space: &Space,
    gate: &str,
    guesses: Vec<Tuning>,
    measure: &mut dyn Measure,
    finest: Option<&mut dyn Measure>,
) -> Result<Outcome> {
    let bar = bar();
    let watcher = |progress: Progress| {
        bar.set_length(progress.most);
        bar.set_position(progress.tried);
    };
    let budget = Budget { points: options.budget, time: Duration::from_secs(options.budget_s) };
    let mut search = Search::new(space, gate)
        .objective(options.objective)
        .load(options.load())
        .budget(budget)
        .guesses(guesses)
        .starts(options.starts)
        .seed(options.seed)
        .watched(watcher);
    if let Some(path) = &options.resume {
        search = search.journal(path);
    }
    if let Some(finest) = finest {
        search = search.finest(finest);
    }
    let outcome = if options.exhaustive { search.exhaustive(measure) } else { search.run(measure) };
    bar.finish_and_clear();
    outcome
}

/// A bar on a terminal, nothing elsewhere.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} points  {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// Writes an outcome, as JSON where the file is called so, else as TOML.
fn write(path: &Path, outcome: &Outcome) -> Result<()> {
    let json = path.extension().is_some_and(|extension| extension == "json");
    let text = if json { outcome.to_json()? } else { outcome.to_toml()? };
    let failed = |error: std::io::Error| Error::File { path: path.display().to_string(), message: error.to_string() };
    std::fs::write(path, text).map_err(failed)
}

/// Puts the setting into a store.
fn keep(path: &Path, outcome: &Outcome) -> Result<()> {
    let mut store = Store::load(path)?;
    store.put(Entry::from(outcome));
    store.save(path)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::tune::surface::{Surface, H800};

    fn found(words: &[&str]) -> Outcome {
        let options = TuneOptions::parse_from(["tune", "--machine", "h800-cx7"].iter().chain(words));
        let space = options.space(machine::limits("h800-cx7").expect("a preset")).expect("a space");
        let gate = options.gate().expect("a gate");
        search(&options, &space, &gate.class(), Vec::new(), &mut Surface::new(H800), None)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_journal_a_store_and_plots_come_of_a_search() {
        let folder = std::env::temp_dir().join(format!("warpferry-tune-command-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for tests");
        let (journal, store) = (folder.join("journal.jsonl"), folder.join("tuned.toml"));
        let _ = std::fs::remove_file(&journal);
        let resume = ["--resume", journal.to_str().expect("a path")];
        let first = found(&[&["--payload", "fp8-e4m3", "--budget", "60"], &resume[..]].concat());
        assert_eq!(first.points_tried, 60);
        let second = found(&[&["--payload", "fp8-e4m3"], &resume[..]].concat());
        assert_eq!(second, found(&["--payload", "fp8-e4m3"]));
        keep(&store, &second).expect("kept");
        assert_eq!(Store::load(&store).expect("read").entries()[0].setting, second.setting);
        for (name, outcome) in [("o.json", &first), ("o.toml", &second)] {
            write(&folder.join(name), outcome).expect("written");
        }
        for file in plots::draw(&second, &folder.join("plots")).expect("drawn") {
            let text = std::fs::read_to_string(&file).expect("a picture");
            assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{}", file.display());
        }
    }
}

/// The surfaces of the library's own tests.
#[cfg(test)]
#[allow(dead_code)]
#[path = "../../../tune/tests/surface.rs"]
mod surface;
