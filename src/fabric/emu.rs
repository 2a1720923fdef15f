//! The NICs of the emulated cluster: one for each GPU, in one network.

use warpferry_nic as nic;

use super::{failed, Nic, NicCounters, Queue, QueueAddress, QueueMemory, WindowKeys};
use crate::driver::emu::{failed as machine_failed, EmuMachine};
use crate::error::Result;
use crate::mem::DevicePtr;

/// NIC of one GPU of the cluster.
#[derive(Debug)]
pub(crate) struct EmuNic {
    machine: EmuMachine,
    gpu: usize,
}

impl EmuNic {
    pub(crate) fn new(machine: EmuMachine, gpu: usize) -> EmuNic {
        EmuNic { machine, gpu }
    }

    fn network<T>(
        &self,
        call: &'static str,
        act: impl FnOnce(&mut nic::Network) -> std::result::Result<T, nic::ConfigError>,
    ) -> Result<T> {
        self.machine.with(|machine| act(machine.network_mut()).map_err(failed(call)))
    }
}

impl Nic for EmuNic {
    fn register(&self, window: DevicePtr, bytes: u64) -> Result<WindowKeys> {
        let rights =
            nic::Rights { local_write: true, remote_write: true, remote_atomic: true, ..nic::Rights::default() };
        let region = self.machine.with(|machine| machine.register_memory(self.gpu, window.address(), bytes, rights));
        let region = region.map_err(machine_failed("register"))?;
        Ok(WindowKeys { local: region.lkey, remote: region.rkey })
    }

    fn deregister(&self, keys: WindowKeys) -> Result<()> {
        let region = nic::MemoryRegion { lkey: keys.local, rkey: keys.remote };
        self.network("deregister", |network| network.deregister(region))
    }

    fn create_queue(&self, memory: &QueueMemory) -> Result<Queue> {
        let config = nic::QueueConfig::collapsed(
            memory.send_queue.address(),
            memory.entries,
            memory.record.address(),
            memory.completion.address(),
        );
        self.machine.with(|machine| {
            let pair = machine.create_queue_pair(self.gpu, config).map_err(machine_failed("create_queue"))?;
            let page = machine.map_doorbell(self.gpu, self.gpu).map_err(machine_failed("create_queue"))?;
            Ok(Queue { number: pair.number.0, doorbell: DevicePtr::new(page + pair.doorbell_offset_bytes) })
        })
    }

    fn destroy_queue(&self, number: u32) -> Result<()> {
        self.network("destroy_queue", |network| network.destroy_queue_pair(nic::QueuePairNumber(number)))
    }

    fn address(&self, number: u32) -> QueueAddress {
        QueueAddress { nic: self.gpu as u64, number }
    }

    fn connect(&self, number: u32, peer: QueueAddress) -> Result<()> {
        // The model connects both ends at once: the first end that asks does it.
        let (own, peer) = (nic::QueuePairNumber(number), nic::QueuePairNumber(peer.number));
        self.network("connect", |network| match network.state(own)? {
            nic::QueueState::Reset => network.connect(own, peer),
            _ => Ok(()),
        })
    }

    fn counters(&self) -> Result<NicCounters> {
        self.machine.with(|machine| {
            let id = machine.nic(self.gpu).map_err(machine_failed("counters"))?;
            machine.network().nic_counters(id).map(NicCounters::from).map_err(failed("counters"))
        })
    }

    fn queue_counters(&self, number: u32) -> Result<NicCounters> {
        let number = nic::QueuePairNumber(number);
        self.network("queue_counters", |network| network.counters(number)).map(NicCounters::from)
    }
}
