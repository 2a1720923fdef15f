//! `emu run --explore`: every order and value that weak memory allows, one run each, and what the buffers hold then.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{json, Value};
use warpferry_emu::{Exploration, MachineConfig, Schedule};

use super::failure::Failure;
use super::run::{config, execute, save, RunOptions};
use crate::output::say;

/// Words that are printed of a buffer.
const PRINTED: usize = 12;

/// What the buffers hold after some of the runs.
struct Shown {
    /// By argument; nothing where it is no buffer.
    buffers: Vec<Option<Vec<u8>>>,
    runs: u64,
    /// The choices of the first of them.
    choices: String,
}

/// All results, and how the exploration went.
struct Explored {
    results: Vec<Shown>,
    runs: u64,
    /// Whether every sequence of choices within the bounds was run.
    finished: bool,
    /// Whether these are all results of the program.
    all: bool,
}

/// Runs until every sequence of choices was made, or so many times; stops at the first run that fails.
pub fn explore(options: &RunOptions, runs_max: u64) -> Result<(), Failure> {
    let mut exploration = Exploration::new(runs_max).deviations(options.deviations.unwrap_or(usize::MAX));
    let mut results: Vec<Shown> = Vec::new();
    while let Some(schedule) = exploration.schedule() {
        let choices = words(&schedule);
        let number = exploration.runs();
        let done = execute(options, MachineConfig { schedule, ..config(options) })
            .map_err(|failure| failure.among(format!("run {number} of the exploration: --choices {choices}")))?;
        exploration.ran(&done.machine);
        let compared = compared(options, done.buffers);
        match results.iter_mut().find(|result| result.buffers == compared) {
            Some(result) => result.runs += 1,
            None => results.push(Shown { buffers: compared, runs: 1, choices }),
        }
    }
    let finished = exploration.is_finished();
    let all = finished && options.deviations.is_none();
    let explored = Explored { results, runs: exploration.runs(), finished, all };
    explored.save(options)?;
    match options.json {
        true => say(explored.json()),
        false => explored.print(options),
    }
    Ok(())
}

/// Choices as `--choices` takes them.
fn words(schedule: &Schedule) -> String {
    let Schedule::Explore { choices } = schedule else { return "-".to_string() };
    match choices.is_empty() {
        true => "-".to_string(),
        false => choices.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
    }
}

/// The buffers by which runs are told apart: those of `--dump`, or all.
fn compared(options: &RunOptions, buffers: Vec<Option<Vec<u8>>>) -> Vec<Option<Vec<u8>>> {
    let is_named = |index: usize| options.dumps.is_empty() || options.dumps.iter().any(|dump| dump.index == index);
    buffers.into_iter().enumerate().map(|(index, bytes)| bytes.filter(|_| is_named(index))).collect()
}

impl Explored {
    /// Writes the buffers of each result, and takes away what an earlier exploration left of more results.
    fn save(&self, options: &RunOptions) -> Result<(), Failure> {
        for dump in &options.dumps {
            for (number, result) in self.results.iter().enumerate() {
                save(&numbered(&dump.file, number), result.buffers[dump.index].as_deref().unwrap_or_default())?;
            }
            let mut left = self.results.len();
            while fs::remove_file(numbered(&dump.file, left)).is_ok() {
                left += 1;
            }
        }
        Ok(())
    }

    fn print(&self, options: &RunOptions) {
        let left = match (self.all, self.finished) {
            (true, _) => "these are all".to_string(),
            (_, true) => {
                format!("all with at most {} choices that are not plain", options.deviations.unwrap_or_default())
            }
            _ => "more are left".to_string(),
        };
        say(format_args!("{} runs, {left}; different results: {}", self.runs, self.results.len()));
        for (number, result) in self.results.iter().enumerate() {
            say(format_args!("result {number}: {} runs, the first by --choices {}", result.runs, result.choices));
            for (argument, bytes) in result.buffers.iter().enumerate() {
                let Some(bytes) = bytes else { continue };
                let shown = self.differing(argument);
                let shown: Vec<usize> = match shown.is_empty() {
                    true => (0..bytes.len().div_ceil(4)).collect(),
                    false => shown.into_iter().collect(),
                };
                let mut text: Vec<String> =
                    shown.iter().take(PRINTED).map(|&at| format!("+{:#x}={:#x}", 4 * at, word(bytes, at))).collect();
                if shown.len() > PRINTED {
                    text.push(format!(".. ({} words)", shown.len()));
                }
                say(format_args!("  argument {argument}: {}", text.join(" ")));
            }
        }
    }

    /// Words of an argument's buffer that are not the same in all results.
    fn differing(&self, argument: usize) -> BTreeSet<usize> {
        let buffers: Vec<&Vec<u8>> = self.results.iter().filter_map(|r| r.buffers[argument].as_ref()).collect();
        let Some((first, others)) = buffers.split_first() else { return BTreeSet::new() };
        let words = 0..first.len().div_ceil(4);
        words.filter(|&at| others.iter().any(|other| word(other, at) != word(first, at))).collect()
    }

    fn json(&self) -> Value {
        let result = |result: &Shown| {
            let buffers = result.buffers.iter().enumerate().filter_map(|(argument, bytes)| {
                let bytes: String = bytes.as_ref()?.iter().map(|byte| format!("{byte:02x}")).collect();
                Some(json!({ "argument": argument, "bytes": bytes }))
            });
            json!({ "runs": result.runs, "choices": result.choices, "buffers": buffers.collect::<Vec<_>>() })
        };
        json!({
            "status": "ok",
            "runs": self.runs,
            "all": self.all,
            "finished": self.finished,
            "results": self.results.iter().map(result).collect::<Vec<_>>(),
        })
    }
}

/// `FILE.NUMBER`.
fn numbered(file: &Path, number: usize) -> PathBuf {
    let mut name: OsString = file.as_os_str().to_os_string();
    name.push(format!(".{number}"));
    name.into()
}

/// The word of four bytes at an index, the last one padded with zeros.
fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    let piece = &bytes[(4 * at).min(bytes.len())..(4 * at + 4).min(bytes.len())];
    word[..piece.len()].copy_from_slice(piece);
    u32::from_le_bytes(word)
}
