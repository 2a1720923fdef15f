//! From a machine's values to the emulator's times.

use std::collections::BTreeSet;

use warpferry_emu::{GpuTiming, LinkTiming, NicTiming, Timing};

use super::contention::Contention;
use super::file::Values;
use super::Machine;
use crate::error::{Error, Result};

/// How far a warp may run ahead of its time: about sixty instructions.
const GRAIN_PS: u64 = 100_000;

/// Takes values out of a file, and knows in the end which nobody asked for.
pub(super) struct Reader<'v> {
    origin: &'v str,
    values: &'v Values,
    read: BTreeSet<(&'static str, &'static str)>,
}

impl Reader<'_> {
    pub fn value(&mut self, section: &'static str, name: &'static str) -> Result<f64> {
        self.read.insert((section, name));
        let argument = || format!("{section}.{name} of {}", self.origin);
        let value =
            self.values.get(section, name).ok_or_else(|| Error::argument("machine", argument(), "given"))?.value;
        if !value.is_finite() || value < 0.0 {
            return Err(Error::argument("value", format!("{value} for {}", argument()), "a number, 0 or more"));
        }
        Ok(value)
    }

    fn scaled(&mut self, section: &'static str, name: &'static str, scale: f64) -> Result<u64> {
        Ok((self.value(section, name)? * scale).round() as u64)
    }

    fn count(&mut self, section: &'static str, name: &'static str) -> Result<u32> {
        let value = self.scaled(section, name, 1.0)?;
        u32::try_from(value).map_err(|_| Error::argument("value", format!("{section}.{name} = {value}"), "below 2^32"))
    }

    /// Nanoseconds as picoseconds.
    fn ns(&mut self, section: &'static str, name: &'static str) -> Result<u64> {
        self.scaled(section, name, 1e3)
    }

    /// GB/s as bytes a microsecond; not 0.
    fn gbs(&mut self, section: &'static str, name: &'static str) -> Result<u64> {
        match self.scaled(section, name, 1e3)? {
            0 => Err(Error::argument("value", format!("0 for {section}.{name}"), "more than 0 GB/s")),
            rate => Ok(rate),
        }
    }
}

/// The machine of a file's values.
pub(super) fn machine(origin: &str, values: Values) -> Result<Machine> {
    let mut reader = Reader { origin, values: &values, read: BTreeSet::new() };
    let timing = timing(&mut reader)?;
    let (sms, shared_bytes) = (reader.count("gpu", "sms")?, reader.count("gpu", "shared_bytes")?);
    let memory_bytes = reader.scaled("gpu", "memory_gib", 1024.0 * 1024.0 * 1024.0)?;
    let contention = Contention::read(&mut reader)?;
    let read = reader.read;
    if let Some((section, name, ..)) =
        values.all().find(|&(section, name, ..)| !read.iter().any(|&r| r == (section, name)))
    {
        let names: Vec<String> = read.iter().map(|(section, name)| format!("{section}.{name}")).collect();
        let value = format!("{section}.{name} of {origin}");
        return Err(Error::argument("machine", value, format!("one of {}", names.join(", "))));
    }
    let (name, about) = (values.name.clone(), values.about.clone());
    Ok(Machine { name, about, sms, shared_bytes, memory_bytes, timing, contention, values })
}

fn timing(reader: &mut Reader<'_>) -> Result<Timing> {
    let clock_mhz = reader.value("gpu", "clock_mhz")?;
    if clock_mhz < 1.0 {
        return Err(Error::argument("value", format!("{clock_mhz} for gpu.clock_mhz"), "1 or more"));
    }
    let clk = 1e6 / clock_mhz;
    let gpu = GpuTiming {
        schedulers: reader.count("gpu", "schedulers")?.max(1),
        clock_ps: clk.round() as u64,
        instruction_ps: reader.scaled("gpu", "instruction_clk", clk)?.max(1),
        exchange_ps: reader.scaled("gpu", "exchange_clk", clk)?,
        shared_load_ps: reader.scaled("gpu", "shared_load_clk", clk)?,
        shared_atomic_ps: reader.scaled("gpu", "shared_atomic_clk", clk)?,
        l2_load_ps: reader.scaled("gpu", "l2_load_clk", clk)?,
        hbm_load_ps: reader.scaled("gpu", "hbm_load_clk", clk)?,
        l2_atomic_ps: reader.scaled("gpu", "l2_atomic_clk", clk)?,
        wake_ps: reader.ns("gpu", "wake_ns")?,
        fence_gpu_ps: reader.ns("gpu", "fence_gpu_ns")?,
        fence_system_ps: reader.ns("gpu", "fence_system_ns")?,
        fence_posted_ps: reader.ns("gpu", "fence_posted_ns")?,
        fence_proxy_ps: reader.scaled("gpu", "fence_proxy_clk", clk)?,
        bulk_issue_ps: reader.scaled("gpu", "bulk_issue_clk", clk)?,
        bulk_ps: reader.scaled("gpu", "bulk_clk", clk)?,
        sm_access_rate: reader.gbs("gpu", "sm_access_gbs")?,
        sm_load_rate: reader.gbs("gpu", "sm_load_gbs")?,
        sm_store_rate: reader.gbs("gpu", "sm_store_gbs")?,
        store_ps: reader.ns("gpu", "store_ns")?,
        l2_rate: reader.gbs("gpu", "l2_gbs")?,
        l2_bytes: reader.scaled("gpu", "l2_mib", 1024.0 * 1024.0)?,
        hbm_rate: reader.gbs("gpu", "hbm_gbs")?,
        launch_ps: reader.ns("gpu", "launch_ns")?,
    };
    let links = LinkTiming {
        nvlink_rate: reader.gbs("links", "nvlink_gbs")?,
        nvlink_ps: reader.ns("links", "nvlink_ns")?,
        nvlink_load_ps: reader.ns("links", "nvlink_load_ns")?,
        host_load_ps: reader.ns("links", "host_load_ns")?,
        host_store_ps: reader.ns("links", "host_store_ns")?,
        pcie_rate: reader.gbs("links", "pcie_gbs")?,
    };
    let nic = NicTiming {
        rate: reader.gbs("nic", "gbs")?,
        fetch_ps: reader.ns("nic", "fetch_ns")?,
        entry_ps: reader.ns("nic", "entry_ns")?,
        message_ps: reader.ns("nic", "message_ns")?,
        payload_ps: reader.ns("nic", "payload_ns")?,
        leaf_ps: reader.ns("nic", "leaf_ns")?,
        spine_ps: reader.ns("nic", "spine_ns")?,
        leaf_nodes: reader.count("nic", "leaf_nodes")?.max(1),
        place_ps: reader.ns("nic", "place_ns")?,
        atomic_ps: reader.ns("nic", "atomic_ns")?,
        complete_ps: reader.ns("nic", "complete_ns")?,
        queue_pairs: reader.count("nic", "queue_pairs")?,
        miss_ps: reader.ns("nic", "miss_ns")?,
    };
    Ok(Timing { gpu, links, nic, grain_ps: GRAIN_PS, content_bytes: None })
}
