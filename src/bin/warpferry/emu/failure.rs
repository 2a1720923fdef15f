//! Why a program did not run to its end, in words and as JSON.

use serde_json::{json, Value};
use warpferry_emu::{Fault, FaultKind, LoadError, RaceAccess};

use crate::output::command_line;

/// Why a program did not run to its end.
#[derive(Debug)]
pub enum Failure {
    /// The command line or a file is wrong.
    Usage(String),
    /// The module cannot be loaded.
    Load(LoadError),
    /// A thread did something wrong; which argument's buffer the address is beside.
    Fault { fault: Box<Fault>, beside: Option<String> },
    /// Nothing can move, or the limit is reached.
    Stall(String),
    /// One of several runs failed: which, in words.
    Among(Box<Failure>, String),
}

/// Address and size of each argument that is a buffer.
pub type Buffers = Vec<Option<(u64, usize)>>;

/// Bytes around a buffer that count as beside it.
const BESIDE: u64 = 1 << 16;

/// Which argument's buffer an address outside all of them is beside, in words.
pub fn beside(address: u64, buffers: &Buffers) -> Option<String> {
    let named = |(index, &(start, bytes)): (usize, &(u64, usize))| {
        let end = start + bytes as u64;
        let what = format!("the buffer of argument {index}, which has {bytes} bytes");
        match address {
            _ if (start..end).contains(&address) => None,
            _ if (end..end.saturating_add(BESIDE)).contains(&address) => {
                Some((address - end, format!("{} bytes behind the end of {what}", address - end)))
            }
            _ if (start.saturating_sub(BESIDE)..start).contains(&address) => {
                Some((start - address, format!("{} bytes before {what}", start - address)))
            }
            _ => None,
        }
    };
    let buffers = buffers.iter().enumerate().filter_map(|(index, buffer)| Some((index, buffer.as_ref()?)));
    buffers.filter_map(named).min().map(|(_, words)| words)
}

impl Failure {
    /// This one of several runs; what is wrong before anything ran is no run's.
    pub fn among(self, which: String) -> Failure {
        match self {
            Failure::Usage(_) | Failure::Load(_) => self,
            _ => Failure::Among(Box::new(self), which),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        match self {
            Failure::Usage(text) => text.clone(),
            // The parser names the file itself.
            Failure::Load(LoadError::Parse { module, message }) if message.starts_with(module) => message.clone(),
            Failure::Load(error) => error.to_string(),
            Failure::Among(failure, which) => format!("{}\n  {which}", failure.text()),
            Failure::Stall(text) => format!("{}\n  replay: {}", text.trim_end(), command_line()),
            Failure::Fault { fault, beside } => {
                let beside = beside.as_ref().map_or(String::new(), |words| format!("\n  the address is {words}"));
                format!("{fault}{beside}\n  replay: {}", command_line())
            }
        }
    }

    /// One object.
    pub fn json(&self) -> Value {
        if let Failure::Among(failure, which) = self {
            let mut value = failure.json();
            value["run"] = json!(which);
            return value;
        }
        let mut value = json!({ "status": self.kind(), "error": self.text() });
        match self {
            Failure::Load(LoadError::Instruction { file, line, instruction, .. }) => {
                value["file"] = json!(file);
                value["line"] = json!(line);
                value["instruction"] = json!(instruction);
            }
            Failure::Fault { fault, .. } => {
                if let Some(at) = &fault.location {
                    value["file"] = json!(at.file);
                    value["line"] = json!(at.line);
                    value["instruction"] = json!(at.instruction);
                }
                if let Some(thread) = &fault.thread {
                    value["cta"] = json!(thread.cta);
                    value["thread"] = json!(thread.thread);
                }
                value["address"] = json!(fault.address);
                if let FaultKind::Race(report) = &fault.kind {
                    let access = |access: &RaceAccess| {
                        json!({
                            "agent": access.agent,
                            "kind": access.kind,
                            "order": access.order,
                            "scope": access.scope,
                            "proxy": access.proxy,
                            "file": access.location.as_ref().map(|at| &at.file),
                            "line": access.location.as_ref().map(|at| at.line),
                            "instruction": access.location.as_ref().map(|at| &at.instruction),
                        })
                    };
                    value["race"] = json!({
                        "missing": report.missing,
                        "first": access(&report.first),
                        "second": access(&report.second),
                        "schedule": report.schedule,
                        "replay": command_line(),
                    });
                }
            }
            _ => {}
        }
        value
    }

    fn kind(&self) -> &'static str {
        match self {
            Failure::Usage(_) => "usage",
            Failure::Load(_) => "load",
            Failure::Fault { fault, .. } if matches!(fault.kind, FaultKind::Race(_)) => "race",
            Failure::Fault { .. } => "fault",
            Failure::Stall(_) => "stall",
            Failure::Among(failure, _) => failure.kind(),
        }
    }
}
