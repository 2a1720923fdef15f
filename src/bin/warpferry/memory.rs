//! Memory that a demo takes: said before it is taken, refused when this machine has less.

use std::fs;

use warpferry::plan::Plan;
use warpferry::{Error, Result};

/// Bytes of a choice: an index and a weight.
const CHOICE_BYTES: u64 = 8;
/// Bytes of a row's source: rank and token.
const SOURCE_BYTES: u64 = 8;

/// Memory of a demo at its peak, over all ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Windows, state, queues and handles.
    pub protocol_bytes: u64,
    /// Device tensors: what is sent, what arrives, what comes back.
    pub tensor_bytes: u64,
    /// The emulator's bit for each byte of device memory, when it checks for uninitialized ones.
    pub shadow_bytes: u64,
    /// On the host: inputs, the reference's results, experts' rows, and results read back.
    pub host_bytes: u64,
}

impl Need {
    /// For `tokens` a rank, of all that are in flight, of which dispatch delivers `rows` in all; `protocol_bytes` are those of the world.
    pub fn new(plan: &Plan, protocol_bytes: u64, tokens: u64, rows: u64, checked: bool) -> Need {
        let topk = u64::from(plan.shape.topk());
        let (there, back) = (u64::from(plan.shape.dispatch_row_bytes()), u64::from(plan.shape.combine_row_bytes()));
        let tokens = tokens * u64::from(plan.topology.ranks());
        let sent = tokens * (there + topk * CHOICE_BYTES);
        let arrived = rows * (there + topk * CHOICE_BYTES + SOURCE_BYTES);
        let from_experts = rows * back;
        let combined = tokens * back;
        let tensor_bytes = sent + arrived + from_experts + combined;
        // Arrived and combined rows are there twice: the reference's and those read back.
        let host_bytes = sent + 2 * arrived + from_experts + 2 * combined;
        let shadow_bytes = if checked { (protocol_bytes + tensor_bytes) / 8 } else { 0 };
        Need { protocol_bytes, tensor_bytes, shadow_bytes, host_bytes }
    }

    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        self.protocol_bytes + self.tensor_bytes + self.shadow_bytes + self.host_bytes
    }

    /// What device memory holds.
    fn device_bytes(&self) -> u64 {
        self.protocol_bytes + self.tensor_bytes + self.shadow_bytes
    }

    /// Refuses what does not fit into `room`; a size that is unknown is taken as enough.
    ///
    /// # Errors
    /// [`Error::Argument`] naming tokens and hidden, which the need grows with.
    pub fn check(&self, plan: &Plan, tokens: u32, room: Room) -> Result<()> {
        match room {
            Room::Host { available } => refuse_more(self.total_bytes(), available, "", plan, tokens),
            Room::Gpu { memory_bytes, available } => {
                refuse_more(self.device_bytes(), Some(memory_bytes), " on the GPU", plan, tokens)?;
                refuse_more(self.host_bytes, available, " on the host", plan, tokens)
            }
        }
    }

    /// In words.
    pub fn text(&self, room: Room) -> String {
        let protocol = format!("windows, state, queues and handles {:.2}", gib(self.protocol_bytes));
        let tensors = format!("tensors {:.2}", gib(self.tensor_bytes));
        let host = "inputs, reference and results";
        match room {
            Room::Host { .. } => format!(
                "{:.2} GiB in all: {protocol}, {tensors}, checks {:.2}, {host} {:.2}",
                gib(self.total_bytes()),
                gib(self.shadow_bytes),
                gib(self.host_bytes)
            ),
            Room::Gpu { .. } => format!(
                "{:.2} GiB on the GPU: {protocol}, {tensors}; {:.2} GiB on the host: {host}",
                gib(self.device_bytes()),
                gib(self.host_bytes)
            ),
        }
    }
}

/// Where a demo's memory lies, and how much is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))] // such a build has no GPU
pub enum Room {
    /// All of it on the host: the emulator's device memory too.
    Host {
        /// What programs can still take.
        available: Option<u64>,
    },
    /// Device memory on a GPU that all ranks share.
    Gpu {
        /// Memory of the GPU.
        memory_bytes: u64,
        /// What programs can still take of the host's.
        available: Option<u64>,
    },
}

fn refuse_more(need: u64, available: Option<u64>, place: &str, plan: &Plan, tokens: u32) -> Result<()> {
    match available {
        Some(available) if need > available => Err(Error::argument(
            "tokens, hidden",
            format!("{tokens}, {}", plan.shape.hidden()),
            format!(
                "less: {:.1} GiB are needed{place} for {} ranks, {:.1} GiB are available",
                gib(need),
                plan.topology.ranks(),
                gib(available)
            ),
        )),
        _ => Ok(()),
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Memory that programs can still take here; `None` where the system does not say.
pub fn available_bytes() -> Option<u64> {
    mem_available(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use warpferry::plan::{Fabric, Shape, Tuning};
    use warpferry::Topology;

    use super::*;

    fn plan() -> Plan {
        let topology = Topology::new(1, 2).expect("valid");
        let shape = Shape::new(64, 4, 2, 16).expect("valid");
        Plan::new(topology, shape, Tuning::default_for(topology, 128), Fabric::Mlx5).expect("valid")
    }

    #[test]
    fn counts_every_copy() {
        let need = Need::new(&plan(), 1000, 16, 48, true);
        let (sent, arrived) = (32 * (128 + 16), 48 * (128 + 16 + 8));
        assert_eq!(need.tensor_bytes, sent + arrived + 48 * 128 + 32 * 128);
        assert_eq!(need.host_bytes, sent + 2 * arrived + 48 * 128 + 2 * 32 * 128);
        assert_eq!(need.shadow_bytes, (1000 + need.tensor_bytes) / 8);
        assert_eq!(Need::new(&plan(), 1000, 16, 48, false).shadow_bytes, 0);
    }

    #[test]
    fn refuses_more_than_there_is() {
        let need = Need::new(&plan(), 1000, 16, 48, true);
        let check = |available| need.check(&plan(), 16, Room::Host { available });
        assert!(check(None).is_ok());
        assert!(check(Some(need.total_bytes())).is_ok());
        let said = check(Some(need.total_bytes() - 1)).expect_err("one byte too few").to_string();
        assert!(said.contains("tokens") && said.contains("hidden") && said.contains("GiB"), "{said}");
    }

    #[test]
    fn a_gpu_and_its_host_are_checked_apart() {
        let need = Need::new(&plan(), 1000, 16, 48, false);
        let device = need.protocol_bytes + need.tensor_bytes;
        let check = |memory_bytes, available| need.check(&plan(), 16, Room::Gpu { memory_bytes, available });
        assert!(check(device, Some(need.host_bytes)).is_ok() && check(device, None).is_ok());
        let said = check(device - 1, None).expect_err("one byte too few").to_string();
        assert!(said.contains("on the GPU"), "{said}");
        let said = check(device, Some(need.host_bytes - 1)).expect_err("one byte too few").to_string();
        assert!(said.contains("on the host"), "{said}");
    }

    #[test]
    fn reads_meminfo() {
        assert_eq!(mem_available("MemTotal: 9 kB\nMemAvailable:   24 kB\n"), Some(24 << 10));
        assert_eq!(mem_available("MemTotal: 9 kB\n"), None);
        assert_eq!(mem_available("MemAvailable: many\n"), None);
    }
}
