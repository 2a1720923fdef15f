//! The thread that drives the machine, and the lock under which calls and that thread take turns.

use crate::left;
use crate::result::{codes, fail, failure, Outcome};
use crate::settings::settings;
use crate::state::State;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use warpferry_emu::{Machine, Slice};

/// Turns of warps, copies and so on between two looks at what calls want: some 10,000 warp instructions.
const SLICE_ACTIONS: usize = 40;
/// Longest real time between two looks at shared memory while nothing can move.
const POLL: Duration = Duration::from_micros(50);
/// Times shorter than this are waited for without sleeping: a sleep takes at least as long.
const SPIN: Duration = Duration::from_micros(30);
/// Time between two looks of calls that wait, while the machine is busy.
const TELL: Duration = Duration::from_millis(1);
/// Longest sleep when there is nothing to do; calls end it.
const REST: Duration = Duration::from_millis(500);

/// The machine of this process and who waits for it.
pub(crate) struct Engine {
    state: Mutex<State>,
    /// Calls that want the lock.
    callers: AtomicUsize,
    /// Tells the thread that a call has ended.
    called: Condvar,
    /// Tells calls that the machine has moved.
    moved: Condvar,
}

static ENGINE: OnceLock<Result<&'static Engine, (u32, String)>> = OnceLock::new();

/// Makes the machine and starts its thread, once.
pub(crate) fn start() -> Outcome<&'static Engine> {
    let made = ENGINE.get_or_init(|| {
        let settings = settings();
        for complaint in &settings.complaints {
            eprintln!("cuda-emu: {complaint}");
        }
        if !settings.complaints.is_empty() {
            return Err((codes::ERROR_INVALID_VALUE, "the environment is not valid".to_string()));
        }
        if settings.devices == 0 {
            return Err((codes::ERROR_NO_DEVICE, "WARPFERRY_CUDA_EMU_DEVICES is 0".to_string()));
        }
        let machine = Machine::new(settings.machine()).map_err(|e| (codes::ERROR_INVALID_VALUE, e.to_string()))?;
        let engine: &'static Engine = Box::leak(Box::new(Engine {
            state: Mutex::new(State::new(machine)),
            callers: AtomicUsize::new(0),
            called: Condvar::new(),
            moved: Condvar::new(),
        }));
        let spawned = std::thread::Builder::new().name("cuda-emu".into()).spawn(move || engine.drive_guarded());
        spawned.map_err(|e| (codes::ERROR_UNKNOWN, e.to_string()))?;
        if settings.leaks {
            left::tell_at_exit().map_err(|why| (codes::ERROR_UNKNOWN, why))?;
        }
        Ok(engine)
    });
    made.as_ref().copied().map_err(|(code, why)| failure(*code, why.clone()))
}

/// The engine, when `cuInit` was called.
pub(crate) fn engine() -> Outcome<&'static Engine> {
    match ENGINE.get() {
        Some(Ok(engine)) => Ok(engine),
        Some(Err((code, why))) => fail(*code, why.clone()),
        None => fail(codes::ERROR_NOT_INITIALIZED, "cuInit was not called"),
    }
}

/// The state during a call.
pub(crate) struct Turn {
    guard: Option<MutexGuard<'static, State>>,
    engine: &'static Engine,
}

impl Deref for Turn {
    type Target = State;

    fn deref(&self) -> &State {
        self.guard.as_deref().expect("a turn has the lock")
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut State {
        self.guard.as_deref_mut().expect("a turn has the lock")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        self.engine.called.notify_one();
    }
}

impl Turn {
    /// Lets the machine run until `ready` gives something.
    pub fn wait<T>(&mut self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            if let Some(value) = ready(self) {
                return value;
            }
            let guard = self.guard.take().expect("a turn has the lock");
            self.engine.called.notify_one();
            let guard = self.engine.moved.wait(guard).unwrap_or_else(PoisonError::into_inner);
            self.guard = Some(guard);
        }
    }
}

impl Engine {
    /// The state, between two slices of the machine.
    pub fn turn(&'static self) -> Turn {
        self.callers.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.callers.fetch_sub(1, Ordering::SeqCst);
        guard.catch_up();
        guard.look_at_holds(false);
        Turn { guard: Some(guard), engine: self }
    }

    fn drive_guarded(&'static self) {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.drive()));
        if ended.is_err() {
            eprintln!("cuda-emu: the emulator has failed; every call gives {} from now on", codes::ERROR_UNKNOWN);
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.break_all(codes::ERROR_UNKNOWN, "the emulator has failed");
            self.moved.notify_all();
        }
    }

    /// Drives the machine for ever.
    fn drive(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut told, mut told_at) = (0, Instant::now());
        loop {
            // Calls come first: a lock that is taken again at once would keep them out.
            if self.callers.load(Ordering::SeqCst) > 0 {
                state = self.rest(state, POLL);
            }
            state.catch_up();
            state.look_at_holds(false);
            state.machine.poke_shared();
            let slice = state.machine.run_slice(SLICE_ACTIONS);
            if let Err(fault) = &slice {
                state.record_fault(fault);
            }
            state.reap_streams();
            let busy = matches!(slice, Ok(Slice::More));
            state.still_since = (!busy).then(Instant::now);
            let progress = state.machine.progress();
            let tell = progress != told && (!busy || told_at.elapsed() > TELL) || slice.is_err();
            if tell {
                (told, told_at) = (progress, Instant::now());
                self.moved.notify_all();
            }
            state = match slice {
                Ok(Slice::More) | Err(_) if tell => self.rest(state, POLL),
                Ok(Slice::More) | Err(_) => state,
                Ok(Slice::Idle) if state.holds_back() => self.rest(state, POLL),
                Ok(Slice::Idle) => self.rest(state, REST),
                Ok(Slice::Waiting { until_ns }) => self.pause(state, until_ns),
            };
        }
    }

    /// Gives the lock away until a call has ended, or for `longest`.
    fn rest<'a>(&self, state: MutexGuard<'a, State>, longest: Duration) -> MutexGuard<'a, State> {
        self.called.wait_timeout(state, longest).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Nothing can move: waits in real time, until a call ends or somebody's time has come.
    fn pause<'a>(&'a self, state: MutexGuard<'a, State>, until_ns: Option<u64>) -> MutexGuard<'a, State> {
        let left = until_ns.map(|until| Duration::from_nanos(until.saturating_sub(state.machine.time_ns())));
        let Some(short) = left.filter(|left| *left < SPIN) else {
            return self.rest(state, left.map_or(POLL, |left| left.min(POLL)));
        };
        drop(state);
        let start = Instant::now();
        while start.elapsed() < short && self.callers.load(Ordering::SeqCst) == 0 {
            std::hint::spin_loop();
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
