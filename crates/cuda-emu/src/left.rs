//! What a program has made and never ended, told when the process ends.

use crate::engine::engine;
use crate::state::{pushed, State};
use std::ffi::c_int;
use std::fmt;

/// Numbers of things.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Left {
    streams: usize,
    events: usize,
    modules: usize,
    graphs: usize,
    device_blocks: usize,
    host_blocks: usize,
    primary_contexts: usize,
}

impl Left {
    /// The sum.
    pub fn add(&mut self, more: Left) {
        self.streams += more.streams;
        self.events += more.events;
        self.modules += more.modules;
        self.graphs += more.graphs;
        self.device_blocks += more.device_blocks;
        self.host_blocks += more.host_blocks;
        self.primary_contexts += more.primary_contexts;
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} streams, {} events, {} modules, {} graphs, {} device blocks, {} host blocks, {} retained primary contexts",
            self.streams,
            self.events,
            self.modules,
            self.graphs,
            self.device_blocks,
            self.host_blocks,
            self.primary_contexts
        )
    }
}

impl State {
    /// What is alive of one context, or of all with the primary contexts themselves.
    pub fn count_left(&self, context: Option<u64>) -> Left {
        let (streams, events) = self.count_streams(context);
        let (device_blocks, host_blocks) = self.blocks.count(context);
        let modules = self.modules.modules.values().filter(|m| context.is_none_or(|context| m.context == context));
        let retained = self.devices.iter().filter(|device| context.is_none() && device.primary.is_some());
        Left {
            streams,
            events,
            modules: modules.count(),
            graphs: self.count_graphs(context),
            device_blocks,
            host_blocks,
            primary_contexts: retained.count(),
        }
    }
}

extern "C" {
    /// Of the C library: `act` is called when the process ends by `exit` or a return from `main`.
    fn atexit(act: extern "C" fn()) -> c_int;
}

/// Has the end of the process tell what is left.
pub(crate) fn tell_at_exit() -> Result<(), String> {
    // SAFETY: `tell` unwinds nowhere, and the library is not unloaded before the end.
    match unsafe { atexit(tell) } {
        0 => Ok(()),
        code => Err(format!("atexit gives {code}")),
    }
}

/// Live things, and those that went with their context: its end frees them, but a program that is careful does it.
extern "C" fn tell() {
    let told = std::panic::catch_unwind(|| {
        if let Ok(engine) = engine() {
            let turn = engine.turn();
            let mut left = turn.count_left(None);
            left.add(turn.lost);
            eprintln!("cuda-emu: left: {left}, {} pushed contexts", pushed());
        }
    });
    drop(told);
}
