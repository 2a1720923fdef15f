//! Worlds with a clock: machines whose parts have times give the same bits, and the same times again.
//!
//! Method: cases of the generator, each on a machine of `machines/`, all checks but those of races on. Time decides there who
//! acts next, so these are schedules as the modelled hardware has them.

use proptest::test_runner::TestCaseError;
use warpferry::machine::Machine;
use warpferry::World;
use warpferry_emu::{MemoryOrder, Schedule};

use crate::case::Case;
use crate::play::{attempt_in, cost};
use crate::random::{cases_that_are_valid, number, runner};

/// Cases without `WARPFERRY_CASES`.
const CASES: u32 = 24;

/// Plays a case on a machine whose parts have times; how long it took there.
fn attempt_timed(case: &Case, machine: &Machine) -> Result<u64, String> {
    let mut config = case.config().map_err(|error| error.to_string())?;
    config.machine.timing = Some(machine.timing().clone());
    config.machine.schedule = Schedule::RoundRobin;
    config.machine.memory = MemoryOrder::Sequential;
    config.machine.checks.races = false;
    let mut world = World::emulated(config).map_err(|error| error.to_string())?;
    attempt_in(case, &mut world)?;
    let taken = cost(world.machine().ok_or("the world has no machine")?).time_ns;
    world.close().map_err(|error| error.to_string())?;
    Ok(taken)
}

#[test]
fn worlds_with_a_clock_give_the_same_bits() {
    let seed = number("WARPFERRY_SEED", 1);
    let cases = number("WARPFERRY_CASES", CASES.into()) as u32;
    println!("WARPFERRY_SEED={seed} WARPFERRY_CASES={cases}");
    let machines: Vec<Machine> =
        Machine::names().map(|name| Machine::named(name).unwrap_or_else(|error| panic!("{error}"))).collect();
    let mut runner = runner(cases, seed);
    let outcome = runner.run(&cases_that_are_valid(), |case| {
        let machine = &machines[case.seed as usize % machines.len()];
        let fail = |words: String| TestCaseError::fail(format!("{}: {words}\n  {case}", machine.name()));
        let first = attempt_timed(&case, machine).map_err(fail)?;
        let again = attempt_timed(&case, machine).map_err(fail)?;
        if first != again || first == 0 {
            return Err(fail(format!("{first} ns, then {again} ns")));
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("WARPFERRY_SEED={seed}: {error}");
    }
}
