//! A machine with the memory and the queue pairs of a test.

use warpferry_emu::{Launch, Machine, MachineConfig, StreamId};
use warpferry_litmus::{Test, Variable};

use crate::barriers;
use crate::kernel;
use crate::layout::{is_shared, offset, Layout, DONE, OUT, REGISTERS, STRIDE};
use crate::pair::{connect, Pair};
use crate::unplayed::Unplayed;

/// Where the locations of a test are on one machine.
#[derive(Debug)]
pub struct Stage<'a> {
    pub test: &'a Test,
    pub layout: &'a Layout,
    /// By GPU, where it sees each GPU's memory.
    bases: Vec<Vec<u64>>,
    /// Where each GPU's threads write their registers.
    outs: Vec<u64>,
    pub pairs: Vec<Pair>,
}

impl<'a> Stage<'a> {
    /// How many nodes of how many GPUs: windows are mapped within a node, NICs are between nodes.
    pub fn shape(test: &Test, layout: &Layout) -> (usize, usize) {
        if test.queues.is_empty() {
            (1, layout.gpus())
        } else {
            (layout.gpus(), 1)
        }
    }

    /// Makes the machine and what the test has in memory.
    pub fn set(test: &'a Test, layout: &'a Layout, config: MachineConfig) -> Result<(Self, Machine), Unplayed> {
        let mut machine = Machine::new(config).map_err(Unplayed::failed)?;
        let gpus = layout.gpus();
        let bytes = Self::bytes(test);
        let mut image = vec![0; bytes as usize];
        for (place, initial) in test.initial.iter().enumerate() {
            image[place * STRIDE as usize..][..8].copy_from_slice(&initial.to_le_bytes());
        }
        let mut stage = Self { test, layout, bases: vec![Vec::new(); gpus], outs: Vec::new(), pairs: Vec::new() };
        let mut own = Vec::new();
        for gpu in 0..gpus {
            let base = machine.alloc(gpu, bytes).map_err(Unplayed::failed)?;
            machine.write(base, &image).map_err(Unplayed::failed)?;
            own.push(base);
            let outs = layout.spots.len().max(1) as u64 * OUT;
            let out = machine.alloc(gpu, outs).map_err(Unplayed::failed)?;
            machine.fill(out, 0, outs).map_err(Unplayed::failed)?;
            stage.outs.push(out);
        }
        let (_, per_node) = Self::shape(test, layout);
        for gpu in 0..gpus {
            for (other, &base) in own.iter().enumerate() {
                // What is not mapped is not used: a kernel that did would fault.
                let is_mapped = other != gpu && per_node > 1;
                let seen = if is_mapped { machine.map_peer(base, gpu).map_err(Unplayed::failed)? } else { base };
                stage.bases[gpu].push(seen);
            }
        }
        for queue in &test.queues {
            stage.pairs.push(connect(&mut machine, (test, layout), queue, &own, bytes)?);
        }
        barriers::check(&stage)?;
        Ok((stage, machine))
    }

    /// Bytes of all locations.
    fn bytes(test: &Test) -> u64 {
        test.initial.len().max(1) as u64 * STRIDE
    }

    /// Where a GPU sees a location.
    pub fn address(&self, gpu: usize, location: usize) -> u64 {
        self.bases[gpu][self.layout.owner(self.test, location)] + offset(self.test, location)
    }

    /// Where a thread writes its registers.
    pub fn out(&self, thread: usize) -> u64 {
        self.outs[self.layout.spots[thread].gpu] + thread as u64 * OUT
    }

    /// GPUs that some column is on.
    pub fn busy(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.layout.gpus()).filter(|&gpu| !self.layout.warps[gpu].is_empty())
    }

    /// Starts the columns of every GPU.
    pub fn launch(&self, machine: &mut Machine) -> Result<(), Unplayed> {
        for gpu in self.busy() {
            let text = kernel::text(self, gpu)?;
            let module = machine.load_module("litmus.ptx", &text).map_err(Unplayed::failed)?;
            let blocks = &self.layout.warps[gpu];
            let warps = blocks.iter().max().copied().unwrap_or(1);
            machine
                .launch(Launch {
                    gpu,
                    stream: StreamId::DEFAULT,
                    module,
                    entry: "litmus".to_string(),
                    grid: [blocks.len() as u32, 1, 1],
                    block: [32 * warps as u32, 1, 1],
                    shared_bytes: Self::bytes(self.test) as u32,
                    args: Vec::new(),
                    access: Vec::new(),
                })
                .map_err(Unplayed::failed)?;
        }
        Ok(())
    }

    /// Whether every column and every queue pair came to its end.
    pub fn is_done(&self, machine: &Machine) -> Result<bool, Unplayed> {
        for thread in 0..self.layout.spots.len() {
            if word(machine, self.out(thread) + 8 * DONE as u64)? == 0 {
                return Ok(false);
            }
        }
        for pair in &self.pairs {
            if !pair.is_done(machine)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Values of the observed variables behind a run.
    pub fn state(&self, machine: &Machine) -> Result<Vec<i64>, Unplayed> {
        let value = |variable| match variable {
            Variable::Register { thread, register } => word(machine, self.out(thread) + 8 * register as u64),
            Variable::Memory { location } => {
                let owner = self.layout.owner(self.test, location);
                word(machine, self.address(owner, location))
            }
        };
        self.test.observed().into_iter().map(value).collect()
    }
}

/// Refuses a test that asks for what no run shows.
pub fn check_observed(test: &Test, layout: &Layout) -> Result<(), Unplayed> {
    for variable in test.observed() {
        let name = test.variable_name(variable);
        match variable {
            Variable::Register { thread, register } if thread >= layout.spots.len() || register >= REGISTERS => {
                return Err(Unplayed::unsuitable(format!("it asks for {name}, which only the NIC knows")));
            }
            Variable::Memory { location } if is_shared(test, location) => {
                return Err(Unplayed::unsuitable(format!("it asks for {name}, which is gone with its thread block")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn word(machine: &Machine, address: u64) -> Result<i64, Unplayed> {
    let mut word = [0; 8];
    machine.read(address, &mut word).map_err(Unplayed::failed)?;
    Ok(i64::from_le_bytes(word))
}
