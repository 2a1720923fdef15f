//! What single acts cost a warp: fences, loads, sleeping, posts. Kernels take the time themselves.

use serde_json::json;
use warpferry::driver::AccessRule;
use warpferry::mem::{Buffer, DevicePtr};
use warpferry::plan::blocks::QueueBlock;

use super::lab::{all, Lab, Shot, Value, WARP};
use super::pattern::{pattern, words};
use super::record::{Failure, Figure, Samples};
use super::Suite;

/// Numbers that `COST_CLOSE` writes for each warp.
const COST_WORDS: usize = 5;
/// Plain stores of a warp of `probe_fence`.
const PLAIN_BYTES: u64 = 512;
/// Bytes between two words that a NIC or the host polls.
const LINE_BYTES: u64 = 64;

/// Costs of single acts over a few launches, in nanoseconds.
#[derive(Debug, Default)]
struct Costs {
    mean: Samples,
    least: f64,
    most: f64,
}

impl Costs {
    /// Adds what the warps of a launch wrote, each of `acts` timed acts.
    fn add(&mut self, lab: &Lab, cost: &Buffer, acts: u32) -> Result<(), Failure> {
        let bytes = lab.read(cost.ptr(), cost.bytes() as usize)?;
        let numbers: Vec<u64> =
            bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes"))).collect();
        let warps = numbers.chunks_exact(COST_WORDS);
        let count = warps.len() as f64;
        let mut mean = 0.0;
        for warp in warps {
            let [sum, least, most, loop_cycles, loop_ns] = [0, 1, 2, 3, 4].map(|at| warp[at] as f64);
            let ns_per_cycle = if loop_cycles > 0.0 { loop_ns / loop_cycles } else { 0.0 };
            mean += sum * ns_per_cycle / f64::from(acts) / count;
            let least = least * ns_per_cycle;
            self.least = if self.mean.count() == 0 { least } else { self.least.min(least) };
            self.most = self.most.max(most * ns_per_cycle);
        }
        self.mean.push(mean);
        Ok(())
    }

    fn figure(self, name: &str, parameters: Vec<(&'static str, serde_json::Value)>) -> Figure {
        Figure { range: Some((self.least, self.most)), ..Figure::new(name, parameters, "ns", self.mean) }
    }
}

/// Launches of a setting, timed acts of a launch.
fn effort(suite: &Suite) -> (usize, u32) {
    (suite.scale.pick(1, 3, 5), suite.scale.pick(3, 500, 1000))
}

fn cost_bytes(warps: u32) -> u64 {
    8 * COST_WORDS as u64 * u64::from(warps)
}

/// Group `launch`: an empty kernel, begun and waited for.
pub fn launch(suite: &mut Suite) -> Result<(), Failure> {
    let words = suite.lab.alloc(16)?;
    let args = [all(&words), Value::Word(0), Value::Word(0)];
    let mut events = Samples::default();
    let mut host = Samples::default();
    for round in 0..suite.scale.pick(2, 30, 100) {
        let shot = Shot { kernel: "probe_fill", grid: 1, warps: 1, shared_bytes: 0, args: &args, reach: &[] };
        let began = std::time::Instant::now();
        suite.lab.launch(&shot)?;
        suite.lab.wait()?;
        let host_us = began.elapsed().as_secs_f64() * 1e6;
        let events_ns = suite.lab.run(&shot)?;
        if round > 0 {
            host.push(host_us);
            events.push(events_ns as f64 / 1e3);
        }
    }
    if !suite.scale.is_small() {
        // How fast this computer emulates is no figure.
        suite.report.probe("launch", Figure::new("empty_launch_host", vec![("clock", json!("host"))], "us", host));
    }
    suite.report.probe("launch", Figure::new("empty_launch", vec![("clock", json!("events"))], "us", events));
    Ok(())
}

const FENCES: [(&str, &str); 7] = [
    ("none", "probe_fence_none"),
    ("acq_rel.cta", "probe_fence_cta"),
    ("acq_rel.gpu", "probe_fence_gpu"),
    ("acq_rel.sys", "probe_fence_sys"),
    ("proxy.async", "probe_fence_proxy"),
    ("proxy.async.global", "probe_fence_proxy_global"),
    ("proxy.async.shared::cta", "probe_fence_proxy_shared"),
];

/// What is done before a fence.
#[derive(Debug, Clone, Copy)]
struct Before {
    bulk_bytes: u32,
    drained: bool,
    plain_stores: u32,
}

/// Group `fence`.
pub fn fence(suite: &mut Suite) -> Result<(), Failure> {
    let sizes: &[u32] = suite.scale.pick(&[0, 1 << 10], &[0, 16 << 10], &[0, 1 << 10, 4 << 10, 16 << 10]);
    for (fence, kernel) in FENCES {
        for &bulk_bytes in sizes {
            for (drained, plain_stores) in [(false, 0), (true, 0), (false, 1)] {
                if drained && bulk_bytes == 0 {
                    continue;
                }
                for &warps in suite.scale.pick(&[2_u32][..], &[11], &[1, 11]) {
                    fence_setting(suite, (fence, kernel), Before { bulk_bytes, drained, plain_stores }, warps)?;
                }
            }
        }
    }
    Ok(())
}

fn fence_setting(
    suite: &mut Suite,
    (fence, kernel): (&'static str, &'static str),
    before: Before,
    warps: u32,
) -> Result<(), Failure> {
    let lab = &suite.lab;
    let (launches, repeats) = effort(suite);
    let Before { bulk_bytes, drained, plain_stores } = before;
    let bulk = lab.alloc(u64::from(warps * bulk_bytes.max(128)))?;
    let plain = lab.alloc(u64::from(warps) * PLAIN_BYTES)?;
    let cost = lab.alloc(cost_bytes(warps))?;
    let mut costs = Costs::default();
    for launch in 0..=launches {
        let seed = 0xfe0 + launch as u32;
        let numbers = [bulk_bytes, plain_stores, u32::from(drained), repeats, seed].map(Value::Word);
        let args = [&[all(&bulk), all(&plain), all(&cost)][..], &numbers].concat();
        let shared_bytes = warps * bulk_bytes.max(128);
        lab.run(&Shot { kernel, grid: 1, warps, shared_bytes, args: &args, reach: &[] })?;
        if launch > 0 {
            costs.add(lab, &cost, repeats)?;
            continue;
        }
        let stored = lab.read(bulk.ptr(), (warps * bulk_bytes) as usize)?;
        let words_each = (bulk_bytes / 4).max(1);
        let wrong = (0_u32..).zip(words(&stored)).find(|&(at, word)| word != pattern(at % words_each, seed));
        if let Some((at, word)) = wrong {
            let why = format!("word {at} of the bulk stores is {word:#x}; {before:?}, {warps} warps");
            return Err(Failure::wrong(kernel, &why));
        }
    }
    let parameters = vec![
        ("fence", json!(fence)),
        ("bulk_bytes", json!(bulk_bytes)),
        ("drained", json!(drained)),
        ("plain_stores", json!(plain_stores)),
        ("warps", json!(warps)),
    ];
    suite.report.probe("fence", costs.figure("fence", parameters));
    Ok(())
}

const LOADS: [(&str, &str); 5] = [
    ("weak", "probe_load_weak"),
    ("relaxed.gpu", "probe_load_relaxed_gpu"),
    ("acquire.gpu", "probe_load_acquire_gpu"),
    ("relaxed.sys", "probe_load_relaxed_sys"),
    ("acquire.sys", "probe_load_acquire_sys"),
];

/// Group `load`: words of 64 bytes each in device memory, few enough for L2, and in host memory.
pub fn load(suite: &mut Suite) -> Result<(), Failure> {
    const WORDS: u64 = 97;
    let chain: Vec<u8> = (0..WORDS)
        .flat_map(|word| {
            let mut line = [0; LINE_BYTES as usize];
            line[..8].copy_from_slice(&((word + 1) % WORDS * LINE_BYTES).to_le_bytes());
            line
        })
        .collect();
    let device = suite.lab.alloc_with(&chain)?;
    let host = suite.lab.alloc_host(chain.len() as u64)?;
    suite.lab.driver().write_host(host.block(), 0, &chain)?;
    for (place, address) in [("device", device.ptr()), ("host", host.block().device)] {
        for (order, kernel) in LOADS {
            for &warps in suite.scale.pick(&[2_u32][..], &[1], &[1, 8]) {
                let lab = &suite.lab;
                let (launches, repeats) = effort(suite);
                let last = lab.alloc(8 * u64::from(warps * WARP))?;
                let cost = lab.alloc(cost_bytes(warps))?;
                let words = Value::Memory(address, chain.len() as u64);
                let args = [words, all(&last), all(&cost), Value::Word(LINE_BYTES as u32), Value::Word(repeats)];
                let mut costs = Costs::default();
                for launch in 0..=launches {
                    lab.run(&Shot { kernel, grid: 1, warps, shared_bytes: 0, args: &args, reach: &[] })?;
                    if launch > 0 {
                        costs.add(lab, &cost, 1)?;
                    }
                }
                let ends = lab.read(last.ptr(), last.bytes() as usize)?;
                for (lane, end) in (0_u64..).zip(ends.chunks_exact(8)) {
                    let expected = (lane % u64::from(WARP) + u64::from(repeats)) % WORDS * LINE_BYTES;
                    if u64::from_le_bytes(end.try_into().expect("eight bytes")) != expected {
                        return Err(Failure::wrong(kernel, &format!("lane {lane} ended at {end:?}, not {expected}")));
                    }
                }
                // The whole chain is one act: its loads wait for each other.
                let costs = costs.per(f64::from(repeats));
                let parameters = vec![("order", json!(order)), ("memory", json!(place)), ("warps", json!(warps))];
                suite.report.probe("load", costs.figure("load", parameters));
            }
        }
    }
    Ok(())
}

impl Costs {
    /// Of one of `parts` equal parts.
    fn per(self, parts: f64) -> Costs {
        Costs { mean: self.mean.scaled(1.0 / parts), least: self.least / parts, most: self.most / parts }
    }
}

/// Group `sleep`.
pub fn sleep(suite: &mut Suite) -> Result<(), Failure> {
    for sleep_ns in [0, 20, 100, 1000] {
        for &warps in suite.scale.pick(&[2_u32][..], &[1], &[1, 8]) {
            let lab = &suite.lab;
            let (launches, repeats) = effort(suite);
            let slept = lab.alloc(4 * u64::from(warps))?;
            let cost = lab.alloc(cost_bytes(warps))?;
            let args = [all(&slept), all(&cost), Value::Word(sleep_ns), Value::Word(repeats)];
            let mut costs = Costs::default();
            for launch in 0..=launches {
                let kernel = "probe_sleep";
                lab.run(&Shot { kernel, grid: 1, warps, shared_bytes: 0, args: &args, reach: &[] })?;
                if launch > 0 {
                    costs.add(lab, &cost, repeats)?;
                }
            }
            if words(&lab.read(slept.ptr(), slept.bytes() as usize)?).any(|count| count != repeats) {
                return Err(Failure::wrong("probe_sleep", &format!("a warp did not sleep {repeats} times")));
            }
            let parameters = vec![("sleep_ns", json!(sleep_ns)), ("warps", json!(warps))];
            suite.report.probe("sleep", costs.figure("nanosleep", parameters));
        }
    }
    Ok(())
}

const POSTS: [(&str, &str); 4] = [
    ("st.relaxed.sys", "probe_post_relaxed"),
    ("st.release.sys", "probe_post_release"),
    ("st.mmio.relaxed.sys", "probe_post_mmio"),
    ("doorbell_post", "probe_post_doorbell"),
];

/// Group `post`: stores to host-mapped memory, as a doorbell behind PCIe would take them.
pub fn post(suite: &mut Suite) -> Result<(), Failure> {
    for (name, kernel) in POSTS {
        for fenced in [false, true] {
            for &warps in suite.scale.pick(&[2_u32][..], &[1], &[1, 8]) {
                post_setting(suite, (name, kernel), fenced, warps)?;
            }
        }
    }
    Ok(())
}

fn post_setting(
    suite: &mut Suite,
    (name, kernel): (&'static str, &'static str),
    fenced: bool,
    warps: u32,
) -> Result<(), Failure> {
    let lab = &suite.lab;
    let (launches, repeats) = effort(suite);
    let lines = u64::from(warps) * LINE_BYTES;
    // Targets or doorbells, then doorbell records.
    let host = lab.alloc_host(2 * lines)?;
    let block = host.block();
    let entries = lab.alloc(lines)?;
    let cost = lab.alloc(cost_bytes(warps))?;
    let queues: Vec<u8> = (0..u64::from(warps))
        .flat_map(|warp| {
            let at = block.device.address() + warp * LINE_BYTES;
            QueueBlock { doorbell: at, record: at + lines, ..QueueBlock::default() }.to_bytes()
        })
        .collect();
    let queues = lab.alloc_with(&queues)?;
    let target = Value::Memory(block.device, lines);
    let records =
        AccessRule { address: DevicePtr::new(block.device.address() + lines), bytes: lines, read: true, write: true };
    let args = [target, all(&queues), all(&entries), all(&cost), Value::Word(u32::from(fenced)), Value::Word(repeats)];
    let mut costs = Costs::default();
    for launch in 0..=launches {
        lab.run(&Shot { kernel, grid: 1, warps, shared_bytes: 0, args: &args, reach: &[records] })?;
        if launch > 0 {
            costs.add(lab, &cost, repeats)?;
        }
    }
    for warp in 0..u64::from(warps) {
        let mut told = [0; 8];
        lab.driver().read_host(block, warp * LINE_BYTES, &mut told)?;
        if u64::from_le_bytes(told) != u64::from(repeats) {
            return Err(Failure::wrong(kernel, &format!("warp {warp} told {told:?}, not {repeats}")));
        }
        let mut record = [0; 4];
        lab.driver().read_host(block, lines + warp * LINE_BYTES, &mut record)?;
        let expected = if name == "doorbell_post" { repeats & 0xffff } else { 0 };
        if u32::from_be_bytes(record) != expected {
            return Err(Failure::wrong(kernel, &format!("record of warp {warp} is {record:?}, not {expected}")));
        }
    }
    let parameters = vec![("act", json!(name)), ("fence_behind", json!(fenced)), ("warps", json!(warps))];
    suite.report.probe("post", costs.figure("post", parameters));
    Ok(())
}
