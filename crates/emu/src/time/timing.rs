//! What the parts of a machine take: the numbers behind the clock.

/// What the parts of a machine take. All GPUs, NICs and links are alike.
///
/// Times are in picoseconds, rates in bytes a microsecond (1,000 are a GB/s). Rates are what a part gives at best to copies
/// as the kernels make them, not what its data sheet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// SMs and their memory.
    pub gpu: GpuTiming,
    /// Between the GPUs of a node, and between a GPU and its host.
    pub links: LinkTiming,
    /// NICs and the fabric between them.
    pub nic: NicTiming,
    /// How far a warp may run ahead of its own time before it touches what others see. Less is more exact and slower.
    pub grain_ps: u64,
    /// Most bytes at the start of a bulk copy whose contents are moved; all of it takes its time. What comes behind holds
    /// whatever was there, so rows are not what the kernels would give: for worlds whose payload would take long to copy.
    pub content_bytes: Option<u32>,
}

/// SMs and their memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuTiming {
    /// Parts of an SM that issue an instruction of one of their warps each clock.
    pub schedulers: u32,
    /// One clock.
    pub clock_ps: u64,
    /// From one instruction of a warp to its next, on average.
    pub instruction_ps: u64,
    /// More for what lanes exchange: shuffles, votes, warp barriers.
    pub exchange_ps: u64,
    /// A load from shared memory.
    pub shared_load_ps: u64,
    /// An atomic operation on shared memory.
    pub shared_atomic_ps: u64,
    /// A load that L2 answers.
    pub l2_load_ps: u64,
    /// A load that device memory answers.
    pub hbm_load_ps: u64,
    /// An atomic operation in L2.
    pub l2_atomic_ps: u64,
    /// From what a warp waits for, to its next instruction.
    pub wake_ps: u64,
    /// A fence whose scope is the GPU or less.
    pub fence_gpu_ps: u64,
    /// A fence of the whole system, or a release to it.
    pub fence_system_ps: u64,
    /// The same behind stores that a NIC reads: queue entries and records.
    pub fence_posted_ps: u64,
    /// A fence between proxies.
    pub fence_proxy_ps: u64,
    /// Issuing a bulk copy.
    pub bulk_issue_ps: u64,
    /// What a bulk copy takes beyond the latency of the memory.
    pub bulk_ps: u64,
    /// Loads and stores of one SM's threads beyond its own memory.
    pub sm_access_rate: u64,
    /// Bulk loads of one SM.
    pub sm_load_rate: u64,
    /// Bulk stores of one SM.
    pub sm_store_rate: u64,
    /// From a local bulk store's read to the end of its write, for who waits for it.
    pub store_ps: u64,
    /// L2, all SMs.
    pub l2_rate: u64,
    /// What L2 holds.
    pub l2_bytes: u64,
    /// Device memory.
    pub hbm_rate: u64,
    /// From a kernel that can start to its first instruction.
    pub launch_ps: u64,
}

/// Between the GPUs of a node, and between a GPU and its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTiming {
    /// NVLink of a GPU, each direction.
    pub nvlink_rate: u64,
    /// One way over NVLink.
    pub nvlink_ps: u64,
    /// A load over NVLink.
    pub nvlink_load_ps: u64,
    /// A load of host memory.
    pub host_load_ps: u64,
    /// One way of a store to host memory or a doorbell.
    pub host_store_ps: u64,
    /// PCIe of a GPU, each direction.
    pub pcie_rate: u64,
}

/// NICs and the fabric between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicTiming {
    /// Payload of a NIC, each direction.
    pub rate: u64,
    /// From the doorbell to its first queue entry being there.
    pub fetch_ps: u64,
    /// Between two entries of one queue pair.
    pub entry_ps: u64,
    /// Between two messages of a NIC, whatever their queue pairs.
    pub message_ps: u64,
    /// Reading payload that is not in the entry.
    pub payload_ps: u64,
    /// One way between two NICs of a rail on one leaf switch.
    pub leaf_ps: u64,
    /// One way between two leaf switches.
    pub spine_ps: u64,
    /// Nodes whose NICs of a rail share a leaf switch.
    pub leaf_nodes: u32,
    /// From the wire to the memory there.
    pub place_ps: u64,
    /// More for an atomic operation there.
    pub atomic_ps: u64,
    /// From an acknowledgement to the completion entry being there.
    pub complete_ps: u64,
    /// Queue pairs whose state a NIC holds; with more of them messages take longer.
    pub queue_pairs: u32,
    /// Between two messages when all queue pairs beyond those are active.
    pub miss_ps: u64,
}

impl Timing {
    /// One of `parts` equal parts of each GPU, a number that need not be whole: rates and sizes of what SMs share are divided,
    /// latencies and an SM's own rates stay. A world of one part of the SMs, channels and tokens runs there as it does in
    /// the whole. Less than 1 counts as 1.
    #[must_use]
    pub fn part(&self, parts: f64) -> Timing {
        let parts = if parts > 1.0 { parts } else { 1.0 };
        let mut part = self.clone();
        let shared = [
            &mut part.gpu.l2_rate,
            &mut part.gpu.l2_bytes,
            &mut part.gpu.hbm_rate,
            &mut part.links.nvlink_rate,
            &mut part.links.pcie_rate,
            &mut part.nic.rate,
        ];
        for shared in shared {
            *shared = ((*shared as f64 / parts) as u64).max(1);
        }
        for between in [&mut part.nic.message_ps, &mut part.nic.miss_ps] {
            *between = (*between as f64 * parts) as u64;
        }
        part.nic.queue_pairs = ((f64::from(part.nic.queue_pairs) / parts) as u32).max(1);
        part
    }

    /// The rates by name, each of which must not be 0.
    pub(crate) fn rates(&self) -> [(&'static str, u64); 9] {
        [
            ("timing.gpu.schedulers", u64::from(self.gpu.schedulers)),
            ("timing.gpu.sm_access_rate", self.gpu.sm_access_rate),
            ("timing.gpu.sm_load_rate", self.gpu.sm_load_rate),
            ("timing.gpu.sm_store_rate", self.gpu.sm_store_rate),
            ("timing.gpu.l2_rate", self.gpu.l2_rate),
            ("timing.gpu.hbm_rate", self.gpu.hbm_rate),
            ("timing.links.nvlink_rate", self.links.nvlink_rate),
            ("timing.links.pcie_rate", self.links.pcie_rate),
            ("timing.nic.rate", self.nic.rate),
        ]
    }
}
