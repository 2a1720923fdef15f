//! A world whose drivers write down what is called.

use warpferry::driver::emu::EmuMachine;
use warpferry::driver::trace::Trace;
use warpferry::fabric::Device;
use warpferry::{world, Communicator};

use crate::case::{Case, Link};
use crate::play::{all_well, Stop};

/// A world of a case, with a trace for each rank.
pub struct Traced {
    machine: EmuMachine,
    ranks: Vec<Communicator>,
    traces: Vec<Trace>,
}

impl Traced {
    /// The world of a case.
    pub fn new(case: &Case) -> Traced {
        let config = case.config().unwrap_or_else(|error| panic!("{error}"));
        let mut machine = config.machine.clone();
        if case.fabric == Link::Loopback {
            // Every window is mapped: one node.
            (machine.nodes, machine.gpus_per_node) = (1, machine.nodes * machine.gpus_per_node);
        }
        let machine = EmuMachine::new(machine).unwrap_or_else(|error| panic!("{error}"));
        let traces: Vec<Trace> = machine.devices().iter().map(|_| Trace::new()).collect();
        let traced = machine.devices().into_iter().zip(&traces);
        let devices: Vec<Device> =
            traced.map(|(device, trace)| Device { driver: trace.wrap(device.driver.clone()), ..device }).collect();
        let ranks = world::connect(&config, &devices).unwrap_or_else(|error| panic!("{error}"));
        Traced { machine, ranks, traces }
    }

    /// Runs `act` as every rank, and ends the world.
    pub fn run(mut self, case: &Case, act: impl Fn(&mut Communicator, &Trace) -> Result<(), Stop> + Sync) {
        let traces = &self.traces;
        let outcomes =
            self.machine.run(self.ranks.iter_mut().collect(), |rank| act(rank, &traces[rank.rank() as usize]));
        all_well(case, outcomes);
        world::close(self.ranks).unwrap_or_else(|error| panic!("{error}"));
    }
}
