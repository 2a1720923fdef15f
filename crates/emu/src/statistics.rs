//! Counts of what a machine did.

/// Counts of the whole machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Turns of warps.
    pub turns: u64,
    /// Actions of NICs.
    pub nic_actions: u64,
    /// Times at which nothing could move.
    pub stalls: u64,
    /// Counts of each GPU.
    pub gpus: Vec<GpuStatistics>,
}

/// Counts of one GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuStatistics {
    /// Instructions executed by warps (or parts of warps).
    pub warp_instructions: u64,
    /// Launches completed.
    pub launches: u64,
    /// CTAs completed.
    pub ctas: u64,
    /// Bytes of bulk copies into shared memory from the GPU's own or host memory.
    pub bulk_load_bytes: u64,
    /// Bytes of bulk copies into shared memory from peers.
    pub bulk_load_peer_bytes: u64,
    /// Bytes of bulk copies from shared memory to the GPU's own or host memory.
    pub bulk_store_bytes: u64,
    /// Bytes of bulk copies from shared memory to peers, over NVLink.
    pub bulk_store_peer_bytes: u64,
    /// Bytes loaded by `ld` from global memory.
    pub load_bytes: u64,
    /// Bytes stored by `st` to the GPU's own or host memory.
    pub store_bytes: u64,
    /// Bytes stored by `st` to peers.
    pub store_peer_bytes: u64,
    /// Atomic operations of lanes in global memory.
    pub atomics: u64,
    /// Doorbells rung.
    pub doorbells: u64,
    /// Sleeps that ended in parking.
    pub parks: u64,
}

impl Statistics {
    /// Warp instructions of all GPUs.
    pub fn warp_instructions(&self) -> u64 {
        self.gpus.iter().map(|g| g.warp_instructions).sum()
    }
}
