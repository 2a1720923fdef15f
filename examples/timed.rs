//! scratch
use std::time::{Duration, Instant};
use warpferry::gate::Gate;
use warpferry::machine::Machine;
use warpferry::*;
const WAIT: Duration = Duration::from_secs(600);
fn main() -> Result<()> {
    let arg = |i: usize, d: u32| std::env::args().nth(i).and_then(|a| a.parse().ok()).unwrap_or(d);
    let (nodes, gpus, tokens, channels, sms, parts) =
        (arg(1, 2), arg(2, 8), arg(3, 128), arg(4, 16), arg(5, 8), arg(6, 1));
    let preset = std::env::var("M").unwrap_or("h800-cx7".into());
    let machine = Machine::named(&preset)?.part(parts as f64);
    let topology = Topology::new(nodes, gpus)?;
    let experts = 256;
    let mut shape = Shape::new(7168, experts, 8, tokens)?;
    if std::env::var("FP8").is_ok() {
        shape = shape.with_payload(plan::Payload::Fp8(plan::Fp8::E4m3, plan::ScaleKind::F32))?;
    }
    let mut tuning = Tuning::default_for(topology, shape.dispatch_row_bytes());
    tuning.channels = channels;
    tuning.dispatch_sms = sms;
    tuning.combine_sms = sms;
    let e = |n: &str, d: u32| std::env::var(n).ok().and_then(|a| a.parse().ok()).unwrap_or(d);
    tuning.chunk_ib = e("CIB", tuning.chunk_ib);
    tuning.chunk_nv = e("CNV", tuning.chunk_nv);
    tuning.depth_ib = e("DIB", tuning.depth_ib);
    tuning.depth_nv = e("DNV", tuning.depth_nv);
    tuning.workers = e("W", tuning.workers);
    if std::env::var("DIRECT").is_ok() {
        tuning.landing = plan::Landing::direct_for(topology, &shape);
    }
    println!("{tuning:?}");
    let mut config = WorldConfig::new(topology, shape).tuning(tuning);
    config.machine = machine.emulator(topology);
    config.machine.accounts = true;
    config.machine.coverage = std::env::var("PROF").is_ok();
    if let Some(t) = &mut config.machine.timing {
        t.grain_ps = e("GRAIN", 25) as u64 * 1000;
        t.content_bytes = Some(e("HOLLOW", 1024));
    }
    let limit = e("LIMIT", nodes);
    let gate = if limit < nodes { Gate::NodeLimited { nodes: limit } } else { Gate::Uniform };
    let choices = gate.draw(topology, &shape, tokens, 7)?;
    let mut world = World::emulated(config)?;
    let begun = Instant::now();
    let done = world.run(|rank| -> Result<()> {
        let idx = &choices[rank.rank() as usize].topk_idx;
        let idx = rank.tensor(idx, &[tokens as usize, 8])?;
        let dt = shape.payload().given();
        let x =
            rank.tensor_of_bytes(dt, &vec![0; tokens as usize * 7168 * dt.bytes() as usize], &[tokens as usize, 7168])?;
        for _ in 0..e("N", 1) {
            let mut op = Dispatch::new(&x, &idx).bound(tokens as usize * 9);
            if let Some(k) = shape.payload().scales().filter(|_| shape.payload().takes_scales()) {
                let s = rank.tensor_of_bytes(k.dtype(), &vec![0; tokens as usize * 56 * 4], &[tokens as usize, 56])?;
                op = op.scales(&s);
            }
            let got = rank.dispatch(op)?.wait(WAIT)?;
            let y =
                rank.tensor_of_bytes(DType::Bf16, &vec![0; got.handle.rows() * 7168 * 2], &[got.handle.rows(), 7168])?;
            if e("OPS", 2) == 2 {
                rank.combine(Combine::new(&y, &got.handle))?.wait(WAIT)?;
            }
        }
        Ok(())
    })?;
    done.into_iter().collect::<Result<Vec<_>>>()?;
    let wall = begun.elapsed();
    let (accounts, stats) = world.machine().unwrap().with(|m| (m.take_accounts(), m.statistics().clone()));
    let mut names: Vec<String> = Vec::new();
    for a in &accounts {
        if !names.contains(&a.entry) {
            names.push(a.entry.clone());
        }
    }
    for name in names {
        let of: Vec<_> = accounts.iter().filter(|a| a.entry == name).collect();
        let b = of.iter().map(|a| a.began_ticks).min().unwrap();
        let en = of.iter().map(|a| a.ended_ticks).max().unwrap();
        let longest = of.iter().map(|a| a.ended_ticks - a.began_ticks).max().unwrap();
        let (res, idle): (u64, u64) =
            of.iter().flat_map(|a| &a.warps).fold((0, 0), |(r, i), w| (r + w.resident_ticks, i + w.idle_ticks));
        println!(
            "{name:40} launches {:3} from {:9.1} to {:9.1} us, longest {:9.1}, idle {:.2}",
            of.len(),
            b as f64 / 1e6,
            en as f64 / 1e6,
            longest as f64 / 1e6,
            idle as f64 / res as f64
        );
    }
    if std::env::var("PROF").is_ok() {
        world.machine().unwrap().with(|m| {
            for id in m.modules() {
                let Ok(names) = m.entries(id) else { continue };
                for n in names {
                    let cov = m.coverage(id, &n).unwrap();
                    let total: u64 = cov.iter().map(|c| c.spent_ps).sum();
                    println!("== {n}: {:.1} us warp time", total as f64 / 1e6);
                    let mut cov: Vec<_> = cov.into_iter().filter(|c| c.spent_ps * 3000 > total).collect();
                    cov.sort_by_key(|c| std::cmp::Reverse(c.spent_ps));
                    for c in cov.iter().take(70) {
                        println!(
                            "{:5.1}% {:9} x {:8.1} ns {}:{} {}",
                            c.spent_ps as f64 * 100. / total as f64,
                            c.times,
                            c.spent_ps as f64 / 1e3 / c.times as f64,
                            c.location.file,
                            c.location.line,
                            c.location.instruction
                        );
                    }
                }
            }
        });
    }
    let ranks: std::collections::HashSet<(usize, u32)> = Default::default();
    let _ = ranks;
    let w = world.machine().unwrap().with(|m| m.work(0).unwrap());
    println!("busy rank 0: {:?}", w);
    println!(
        "turns {} M, instr/turn {:.1}",
        stats.turns as f64 / 1e6,
        stats.warp_instructions() as f64 / stats.turns as f64
    );
    println!(
        "wall {:.2} s, instructions {:.1} M, {:.1} M/s",
        wall.as_secs_f64(),
        stats.warp_instructions() as f64 / 1e6,
        stats.warp_instructions() as f64 / 1e6 / wall.as_secs_f64()
    );
    Ok(())
}
