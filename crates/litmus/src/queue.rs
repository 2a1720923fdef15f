//! Queue pairs of NICs.
//!
//! `q @ queue` declares one: its doorbell record `q.record`, its doorbell `q.doorbell`, the count that its completion
//! entry shows `q.completed`, and its entries `q.0`, `q.1` ... A thread posts with `nic.write q, remote, local` and
//! `nic.add q, remote, number`, each a weak store to the next entry in the file's order, and rings by stores to record and
//! doorbell of how many entries there are.
//!
//! The NIC's side is one more thread, somewhere else than all others, whose program is written here. It says what a
//! queue pair of a reliable connection promises, as we read it, and nothing more:
//! - It looks at its doorbell until it was rung, then at its doorbell record, both acquiring at system scope.
//! - It fetches entries below the record's count, by weak reads; one that is not there yet ends the queue pair.
//! - It reads a payload and writes it at the remote side by weak accesses: writes may be placed in any order.
//! - A fetch-and-add is behind all earlier requests of its queue pair: it releases at system scope. So is the completion.

use crate::ast::{
    Access, Binary, Compare, Instruction, Location, Operand, Order, Place, Proxy, Queue, Request, Scope, Thread, Update,
};
use crate::error::Error;
use crate::instruction::Reader;
use crate::parse::Names;

/// Names of a queue pair's words behind its own.
const WORDS: [&str; 3] = ["record", "doorbell", "completed"];

impl Names {
    /// Declares a queue pair.
    pub(crate) fn add_queue(&mut self, name: &str) {
        let words = WORDS.map(|word| self.location(&format!("{name}.{word}")));
        self.queues.push(Queue { name: name.to_string(), words, poster: None, entries: Vec::new() });
    }
}

impl Reader<'_, '_> {
    /// `nic.write` and `nic.add`
    pub(crate) fn post(&mut self, rest: &[&str]) -> Result<Instruction, Error> {
        let name = self.tokens.word("a queue pair")?;
        let Some(queue) = self.names.queues.iter().position(|queue| queue.name == name) else {
            return self.refuse(format!("`{name}` is not a queue pair: declare it as `{name} @ queue`"));
        };
        self.tokens.expect(",")?;
        let remote = self.location()?;
        self.tokens.expect(",")?;
        let request = match rest {
            ["write"] => Request::Write { remote, local: self.location()? },
            ["add"] => match self.operand()? {
                Operand::Constant(by) => Request::Add { remote, by },
                Operand::Register(_) => return self.refuse("`nic.add` takes a number"),
            },
            _ => {
                return self.refuse("a NIC is asked by nic.write QUEUE, REMOTE, LOCAL or nic.add QUEUE, REMOTE, NUMBER")
            }
        };
        let place = self.column.thread.place;
        let of = &mut self.names.queues[queue];
        let poster = *of.poster.get_or_insert(place);
        let number = of.entries.len();
        if (poster.gpu, poster.cta) != (place.gpu, place.cta) {
            return self.refuse(format!("`{name}` has entries of two thread blocks: one owns a queue pair"));
        }
        let entry = self.names.location(&format!("{name}.{number}"));
        self.names.queues[queue].entries.push((entry, request));
        let access = Access { order: Order::Weak, scope: Scope::Cta, proxy: Proxy::Generic };
        Ok(Instruction::Store { location: entry, value: Operand::Constant(1), access })
    }
}

// Registers of the NIC's side, shown as `q:rung` and so on.
const RUNG: usize = 0;
const COUNT: usize = 1;
const ENTRY: usize = 2;
const PAYLOAD: usize = 3;
const REGISTERS: [&str; 4] = ["rung", "count", "entry", "payload"];

/// The NIC's side of a queue pair. `number` makes its place one of its own.
pub(crate) fn nic(queue: &Queue, number: u32) -> Thread {
    let [record, doorbell, completed] = queue.words;
    let word = |order| Access { order, scope: Scope::Sys, proxy: Proxy::Generic };
    let (acquire, release) = (word(Order::Acquire), word(Order::Release));
    let weak = Access { order: Order::Weak, scope: Scope::Cta, proxy: Proxy::Generic };
    let mut code = Vec::new();
    // Branches to the end, by their place.
    let mut leaves = Vec::new();
    let branch = |compare, register, than: i64, target| Instruction::Branch {
        compare,
        a: Operand::Register(register),
        b: Operand::Constant(than),
        target,
    };
    let last_signal = queue.entries.iter().rposition(|(_, request)| matches!(request, Request::Add { .. }));
    for (i, &(entry, request)) in queue.entries.iter().enumerate() {
        let below = i as i64;
        // Wait for the doorbell, where it has not been rung for this entry yet; then look at the record.
        let look = code.len() + 1;
        code.push(branch(Compare::Greater, RUNG, below, look + 3));
        code.push(Instruction::Load { into: RUNG, location: doorbell, access: acquire });
        code.push(branch(Compare::LessOrEqual, RUNG, below, look));
        code.push(Instruction::Load { into: COUNT, location: record, access: acquire });
        leaves.push(code.len());
        code.push(branch(Compare::LessOrEqual, COUNT, below, 0));
        code.push(Instruction::Load { into: ENTRY, location: entry, access: weak });
        leaves.push(code.len());
        code.push(branch(Compare::Equal, ENTRY, 0, 0));
        let done = Instruction::Store { location: completed, value: Operand::Constant(below + 1), access: release };
        match request {
            Request::Write { remote, local } => {
                code.push(Instruction::Load { into: PAYLOAD, location: local, access: weak });
                code.push(Instruction::Store { location: remote, value: Operand::Register(PAYLOAD), access: weak });
            }
            Request::Add { remote, by } => {
                let update = Update::Apply(Binary::Add, Operand::Constant(by));
                code.push(Instruction::Atomic { into: None, location: remote, update, access: release });
                code.push(done);
            }
        }
        // Without a fetch-and-add behind it, the last write asks for the completion.
        if i + 1 == queue.entries.len() && last_signal != Some(i) {
            code.push(done);
        }
    }
    let end = code.len();
    for at in leaves {
        if let Instruction::Branch { target, .. } = &mut code[at] {
            *target = end;
        }
    }
    Thread {
        id: number,
        queue: Some(queue.name.clone()),
        place: Place { cta: 0, warp: None, cluster: None, gpu: u32::MAX - number },
        registers: REGISTERS.map(String::from).to_vec(),
        initial: vec![0; REGISTERS.len()],
        lines: vec![0; code.len()],
        instructions: code,
    }
}

/// Locations that the NIC reaches must be in global memory.
pub(crate) fn unreachable(queue: &Queue, locations: &[Location]) -> Option<String> {
    let reached = |request: &Request| match *request {
        Request::Write { remote, local } => vec![remote, local],
        Request::Add { remote, .. } => vec![remote],
    };
    let all = queue.entries.iter().flat_map(|(_, request)| reached(request));
    let is = |location: &usize| locations[*location].space == crate::ast::Space::Shared;
    all.into_iter().find(is).map(|location| locations[location].name.clone())
}
