//! Operations beside a computation: what each does to the other.
//!
//! What operations do to a computation is measured: a matrix product loses by the SMs that are held (`[beside]
//! arithmetic_kept_*` of a machine's file, by SMs), and hardly by what they move; a computation that is bound by device memory
//! loses a little by SMs, and the bandwidth that is taken from it.
//!
//! What a computation does to operations: it keeps L2 and device memory busy, so that loads take longer and rates are what it
//! leaves (`[beside] *_left`, `load_longer`).

use crate::machine::{Beside as Shares, Machine};
use crate::tune::{Beside, Bound, Load};

use super::Model;

/// The model beside a load; none where there is none.
pub(super) fn beside(model: &Model, load: &Load) -> Option<Model> {
    let machine = machine_beside(model.machine(), load)?;
    Some(Model::new(machine).effort(model.effort))
}

/// The machine beside a load; none where there is none.
pub(super) fn machine_beside(machine: &Machine, load: &Load) -> Option<Machine> {
    let Load::Beside { bound, .. } = load else { return None };
    Some(machine.beside(shares(machine, *bound)))
}

fn shares(machine: &Machine, bound: Bound) -> Shares {
    match bound {
        Bound::Arithmetic => machine.beside_arithmetic(),
        Bound::Memory => machine.beside_memory(),
    }
}

/// An operation of `us` microseconds on `sms` SMs that begins with a computation.
pub(super) fn step(machine: &Machine, load: &Load, us: f64, sms: u32) -> Option<Beside> {
    let Load::Beside { bound, alone_us } = *load else { return None };
    let kept = match bound {
        Bound::Arithmetic => machine.arithmetic_kept(sms),
        Bound::Memory => machine.memory_kept(sms),
    };
    // While the operation runs the computation goes on at the part that it keeps, then at full speed.
    let during = us * kept;
    let ends_us = if during >= alone_us { alone_us / kept } else { us + (alone_us - during) };
    Some(Beside { step_us: ends_us.max(us), slowdown_us: ends_us - alone_us, alone_us })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: half of the speed for 100 us costs 50 us; a computation that ends before takes twice as long.
    #[test]
    fn computations_are_slow_as_long_as_the_operation_runs() {
        let machine = Machine::named("h800-cx7").unwrap_or_else(|error| panic!("{error}"));
        let kept = machine.arithmetic_kept(20);
        let load = |alone_us| Load::Beside { bound: Bound::Arithmetic, alone_us };
        let step = |alone_us| step(&machine, &load(alone_us), 100.0, 20).unwrap_or_else(|| panic!("beside"));
        let long = step(1000.0);
        assert!((long.slowdown_us - 100.0 * (1.0 - kept)).abs() < 1e-9 && long.step_us > 1000.0);
        let short = step(10.0);
        assert!((short.slowdown_us - 10.0 * (1.0 / kept - 1.0)).abs() < 1e-9);
        assert_eq!(short.step_us, 100.0);
    }
}
