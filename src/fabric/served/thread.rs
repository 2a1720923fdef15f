//! The thread that plays the NICs: looks at doorbells, lets the model act, and rests when nothing happens.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use warpferry_nic as nic;

use super::{Shared, State};

/// Acts of the model between two looks at the doorbells.
const ACTS_PER_LOOK: u32 = 256;
/// Idle looks in a row after which the thread yields its core between looks.
const SPINS: u32 = 2_000;
/// Idle looks in a row after which it sleeps between looks.
const SPINS_AND_YIELDS: u32 = 4_000;
/// First sleep; each next one is twice as long.
const SLEEP_MIN: Duration = Duration::from_micros(1);
/// Longest sleep: what an idle NIC adds to a latency, beside what the host's timer adds.
const SLEEP_MAX: Duration = Duration::from_micros(20);

/// Serves until it is told to stop, or no doorbell can be read any more.
pub(super) fn serve(shared: &Arc<Shared>) {
    let mut rest = Rest::default();
    let mut rung = Vec::new();
    while !shared.stop.load(Ordering::Acquire) {
        shared.give_way();
        let mut state = shared.lock_state();
        let now_ns = u64::try_from(shared.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let busy = state.turn(now_ns, &mut rung);
        let over = !busy && state.ports.ports.iter().all(|port| port.dead);
        drop(state);
        if over {
            return;
        }
        if busy {
            rest = Rest::default();
        } else {
            rest.rest();
        }
    }
}

impl State {
    /// Looks at all doorbells and lets the model act for a while; whether anything happened.
    fn turn(&mut self, now_ns: u64, rung: &mut Vec<u64>) -> bool {
        self.network.advance(now_ns);
        let mut busy = false;
        for nic in 0..self.doorbells.len() {
            let port = &self.ports.ports[nic];
            if port.dead {
                continue;
            }
            if let Err(error) = self.doorbells[nic].look(&port.driver, rung) {
                self.ports.fail(nic, error);
                self.ports.ports[nic].dead = true;
            }
            for value in rung.drain(..) {
                self.network.doorbell(nic::NicId(nic as u32), value);
                busy = true;
            }
        }
        for _ in 0..ACTS_PER_LOOK {
            if self.network.step(&mut self.ports, &mut nic::Plain) == nic::StepOutcome::Idle {
                break;
            }
            busy = true;
        }
        busy
    }
}

/// What to do between two looks that find nothing.
#[derive(Default)]
struct Rest {
    looks: u32,
    sleep: Duration,
}

impl Rest {
    fn rest(&mut self) {
        if self.looks < SPINS {
            self.looks += 1;
            std::hint::spin_loop();
        } else if self.looks < SPINS_AND_YIELDS {
            self.looks += 1;
            std::thread::yield_now();
        } else {
            self.sleep = (self.sleep * 2).clamp(SLEEP_MIN, SLEEP_MAX);
            std::thread::sleep(self.sleep);
        }
    }
}
