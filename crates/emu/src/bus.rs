//! Memory as the NICs see it.

use crate::config::Checks;
use crate::error::{Fault, FaultKind, HiddenStore};
use crate::memory::{AccessFault, Kind, Memory, Reach, Snapshot};
use crate::race::{self, Mark, Race, Seat};
use crate::visibility;
use crate::warp::Cta;
use crate::weak::{self, Weak};
use warpferry_nic::{Agent, Bus, BusFault, BusFaultReason, Purpose};

/// The bus during one action of a NIC.
pub(crate) struct Port<'a> {
    pub memory: &'a mut Memory,
    pub ctas: &'a [Option<Box<Cta>>],
    pub gpus_per_node: usize,
    pub checks: Checks,
    pub race: Option<&'a mut Race>,
    pub weak: Option<&'a mut Weak>,
    /// A check that failed; the GPU of the store, or of the NIC, faults.
    pub fault: Option<Fault>,
}

impl Port<'_> {
    /// Storage and offset of a range that the NIC of `agent` may reach: device and host memory of its node.
    fn locate(&self, agent: Agent, address: u64, bytes: u64) -> Result<(usize, usize), BusFault> {
        let refuse = |reason| BusFault { address, bytes, reason };
        let region = match self.memory.find(address, bytes) {
            Ok(region) => region,
            Err(AccessFault { .. }) => return Err(refuse(BusFaultReason::Unmapped)),
        };
        let node = agent.nic.0 as usize / self.gpus_per_node;
        let reaches = match (region.reach, region.kind) {
            (Reach::Gpu(gpu), Kind::Device) => gpu / self.gpus_per_node == node,
            (Reach::Node(at), Kind::Host { .. }) => at == node,
            _ => false,
        };
        if !reaches {
            return Err(refuse(BusFaultReason::NotPermitted));
        }
        Ok((region.storage, (address - region.base) as usize))
    }

    /// The NIC reads: every byte must be visible to the bus.
    fn check_visible(&mut self, agent: Agent, storage: usize, offset: usize, bytes: u64) -> Result<(), BusFault> {
        if !self.checks.bus_visibility || !self.memory.storage(storage).tracked || self.fault.is_some() {
            return Ok(());
        }
        let (start, end) = (offset as u64, offset as u64 + bytes);
        for cta in self.ctas.iter().flatten() {
            let own = cta.warps.iter().filter(|w| !w.unflushed.is_empty());
            let lists = own.map(|w| w.unflushed.as_slice()).chain(std::iter::once(cta.state.unflushed.as_slice()));
            let Some(entry) = lists.filter_map(|list| visibility::overlap(list, storage, (start, end), false)).next()
            else {
                continue;
            };
            let address = self.memory.address_of(storage).map(|base| base + entry.start.max(start));
            self.fault = Some(Fault {
                kind: FaultKind::BusVisibility(Box::new(HiddenStore {
                    stored: cta.state.location(entry.pc),
                    cta: cta.state.index,
                    thread: cta.state.thread_index(entry.warp, entry.lane),
                    lacks: entry.stage.lacks(),
                    reader: format!("{} {} {:?}", agent.nic, agent.queue_pair, agent.purpose),
                })),
                gpu: cta.state.shape.gpu,
                thread: Some(Box::new(cta.state.thread(entry.warp, entry.lane))),
                location: Some(Box::new(cta.state.location(entry.pc))),
                address,
                region: address.map(|a| self.memory.describe(a)),
            });
            let address = address.unwrap_or(0);
            return Err(BusFault { address, bytes, reason: BusFaultReason::Reported });
        }
        Ok(())
    }

    /// The NIC takes bytes into its own logic: they must have been written.
    fn check_initialized(&mut self, agent: Agent, storage: usize, offset: usize, bytes: usize) -> Result<(), BusFault> {
        let Some(at) = self.memory.storage(storage).first_uninitialized(offset, bytes) else { return Ok(()) };
        let address = self.memory.address_of(storage).map_or(0, |base| base + at as u64);
        if self.fault.is_none() {
            self.fault = Some(Fault {
                kind: FaultKind::Nic(format!(
                    "{} {} {:?} reads bytes that nobody wrote",
                    agent.nic, agent.queue_pair, agent.purpose
                )),
                gpu: agent.nic.0 as usize,
                thread: None,
                location: None,
                address: Some(address),
                region: Some(self.memory.describe(address)),
            });
        }
        Err(BusFault { address, bytes: bytes as u64, reason: BusFaultReason::Reported })
    }

    /// Tells the race check; a race is a fault of the NIC's GPU.
    fn check_race(
        &mut self,
        agent: Agent,
        place: (usize, usize),
        address: u64,
        bytes: u64,
        write: bool,
        atomic: bool,
    ) -> Result<(), BusFault> {
        let Some(race) = &mut self.race else { return Ok(()) };
        let Err(mut report) = race.nic(agent, place, bytes as usize, write, atomic) else { return Ok(()) };
        let at = race::locate(self.memory, &mut report);
        if self.fault.is_none() {
            self.fault = Some(Fault {
                kind: FaultKind::Race(report),
                gpu: agent.nic.0 as usize,
                thread: None,
                location: None,
                address: at,
                region: at.map(|a| self.memory.describe(a)),
            });
        }
        Err(BusFault { address, bytes, reason: BusFaultReason::Reported })
    }

    /// The access that a NIC is about to make, when memory is explored.
    fn mark(&mut self, agent: Agent, write: bool, atomic: bool) -> Option<(Mark, Seat)> {
        let race = self.race.as_deref_mut().filter(|_| self.weak.is_some())?;
        Some(race.nic_mark(agent, write, atomic))
    }

    /// Older values that the NIC may see, into what it has read.
    fn read_late(&mut self, agent: Agent, storage: usize, offset: usize, bytes: &mut [u8]) {
        if let (Some(weak), Some(race)) = (self.weak.as_deref_mut(), self.race.as_deref()) {
            weak::nic_reads(weak, race, agent, storage, offset, bytes);
        }
    }

    /// The NIC is about to write bytes.
    fn write_late(&mut self, by: Option<(Mark, Seat)>, storage: usize, offset: usize, bytes: &[u8]) {
        if let (Some(weak), Some(race), Some(by)) = (self.weak.as_deref_mut(), self.race.as_deref(), by) {
            weak::nic_writes(weak, race, self.memory.storage(storage), storage, by, offset, bytes);
        }
    }

    fn update(&mut self, agent: Agent, address: u64, new: impl Fn(u64) -> u64) -> Result<u64, BusFault> {
        if address & 7 != 0 {
            return Err(BusFault { address, bytes: 8, reason: BusFaultReason::Misaligned });
        }
        let (storage, offset) = self.locate(agent, address, 8)?;
        self.check_initialized(agent, storage, offset, 8)?;
        let by = self.mark(agent, true, true);
        self.check_race(agent, (storage, offset), address, 8, true, true)?;
        let next = new(self.memory.storage(storage).load(offset, 8));
        self.write_late(by, storage, offset, &next.to_le_bytes());
        Ok(self.memory.update_word(storage, offset, new))
    }
}

impl Bus for Port<'_> {
    fn read(&mut self, agent: Agent, address: u64, into: &mut [u8]) -> Result<(), BusFault> {
        let (storage, offset) = self.locate(agent, address, into.len() as u64)?;
        self.check_visible(agent, storage, offset, into.len() as u64)?;
        // Payload is carried, not used: what nobody wrote (the padding of a slot) is found where it is used.
        if agent.purpose != Purpose::Payload {
            self.check_initialized(agent, storage, offset, into.len())?;
        }
        self.check_race(agent, (storage, offset), address, into.len() as u64, false, false)?;
        self.memory.storage(storage).read(offset, into);
        self.read_late(agent, storage, offset, into);
        Ok(())
    }

    fn write(&mut self, agent: Agent, address: u64, bytes: &[u8]) -> Result<(), BusFault> {
        let (storage, offset) = self.locate(agent, address, bytes.len() as u64)?;
        let by = self.mark(agent, true, false);
        self.check_race(agent, (storage, offset), address, bytes.len() as u64, true, false)?;
        self.write_late(by, storage, offset, bytes);
        self.memory.put_bytes(storage, offset, bytes);
        Ok(())
    }

    fn fetch_add(&mut self, agent: Agent, address: u64, add: u64) -> Result<u64, BusFault> {
        self.update(agent, address, |old| old.wrapping_add(add))
    }

    fn compare_swap(&mut self, agent: Agent, address: u64, compare: u64, swap: u64) -> Result<u64, BusFault> {
        self.update(agent, address, |old| if old == compare { swap } else { old })
    }

    fn copy(
        &mut self,
        from_agent: Agent,
        source: u64,
        to_agent: Agent,
        destination: u64,
        bytes: u64,
    ) -> Result<(), BusFault> {
        let from = self.locate(from_agent, source, bytes)?;
        self.check_visible(from_agent, from.0, from.1, bytes)?;
        let to = self.locate(to_agent, destination, bytes)?;
        self.check_race(from_agent, from, source, bytes, false, false)?;
        let by = self.mark(to_agent, true, false);
        self.check_race(to_agent, to, destination, bytes, true, false)?;
        if self.weak.is_none() {
            self.memory.copy(from, to, bytes as usize);
            return Ok(());
        }
        let mut piece = Snapshot::default();
        self.memory.storage(from.0).take(from.1, bytes as usize, &mut piece);
        self.read_late(from_agent, from.0, from.1, &mut piece.bytes);
        self.write_late(by, to.0, to.1, &piece.bytes);
        self.memory.put(to.0, to.1, &piece);
        Ok(())
    }
}
