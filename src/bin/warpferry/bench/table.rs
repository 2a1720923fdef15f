//! Records for people: one in full, several a line each.

use warpferry::bench::{PathMoved, Record};

use super::sweep::Axis;

/// Bytes of a MiB.
const MIB: f64 = 1_048_576.0;

/// A table of one screen.
pub fn of(records: &[Record], axes: &[Axis]) -> String {
    match records {
        [one] => full(one),
        several => lines(several, axes),
    }
}

/// One record.
fn full(record: &Record) -> String {
    let (workload, setting) = (&record.workload.class, &record.setting.tuning);
    let (place, figures) = (&record.place, &record.figures);
    let mut lines = vec![
        format!(
            "world    {} nodes x {} GPUs, {} tokens a rank, gate {}, seed {}",
            workload.nodes, workload.gpus_per_node, workload.tokens, workload.gate, record.workload.seed
        ),
        format!(
            "rows     hidden {}, top-{} of {} experts, {} there and {} back, by {}",
            workload.hidden, workload.topk, workload.experts, workload.payload, workload.sum, workload.layout
        ),
        format!(
            "setting  {} channels, chunks of {} between nodes and {} within, rings of {} and {} slots,",
            setting.channels, setting.chunk_ib, setting.chunk_nv, setting.depth_ib, setting.depth_nv
        ),
        format!(
            "         {} workers, roles {}, stages of {} bytes, fabric {}, {}",
            setting.workers, setting.roles, setting.stage_bytes, record.setting.fabric, setting.landing
        ),
        format!("times    {}; {} repeat{}", place.times, place.repeats, if place.repeats == 1 { "" } else { "s" }),
        String::new(),
        row("", "dispatch", "combine"),
    ];
    let mut pair = |name: &str, there: f64, back: f64, digits: usize| {
        lines.push(row(name, &format!("{there:.digits$}"), &format!("{back:.digits$}")));
    };
    pair("time, us", figures.dispatch_us, figures.combine_us, 1);
    pair("  least", figures.dispatch_us_least, figures.combine_us_least, 1);
    pair("  most", figures.dispatch_us_most, figures.combine_us_most, 1);
    pair("logical bandwidth, GB/s", figures.dispatch_gbs_logical, figures.combine_gbs_logical, 2);
    pair("IB wire of a GPU, GB/s", figures.dispatch_ib_gbs_wire, figures.combine_ib_gbs_wire, 2);
    pair("NVLink of a GPU, GB/s", figures.dispatch_nvlink_gbs, figures.combine_nvlink_gbs, 2);
    pair("SMs", setting.dispatch_sms.into(), setting.combine_sms.into(), 0);
    pair("SM ms", figures.dispatch_sm_ms, figures.combine_sm_ms, 3);
    let bytes = |bytes, bytes_min| PathMoved { bytes, bytes_min, busiest_bytes: 0 };
    lines.push(row(
        "IB bytes over the least, MiB",
        &against(bytes(figures.dispatch_ib_bytes, figures.dispatch_ib_bytes_min)),
        &against(bytes(figures.combine_ib_bytes, figures.combine_ib_bytes_min)),
    ));
    lines.push(row(
        "NVLink bytes over the least",
        &against(bytes(figures.dispatch_nvlink_bytes, figures.dispatch_nvlink_bytes_min)),
        &against(bytes(figures.combine_nvlink_bytes, figures.combine_nvlink_bytes_min)),
    ));
    lines.push(String::new());
    lines.extend(shares(record));
    lines.push(format!(
        "memory   rings {:.1} MiB a rank, landing zone {:.1} MiB",
        figures.buffer_bytes as f64 / MIB,
        figures.landing_bytes as f64 / MIB
    ));
    lines.push(format!(
        "results  {}",
        if place.verified { "equal the reference, bit for bit" } else { "not compared with the reference" }
    ));
    lines.join("\n")
}

fn row(name: &str, there: &str, back: &str) -> String {
    format!("{name:<30}{there:>22}{back:>22}").trim_end().to_string()
}

/// Kernels of a dispatch, and the dispatch that has no need of all.
fn shares(record: &Record) -> Option<String> {
    let figures = &record.figures;
    let parts = [
        ("layout", figures.layout_us),
        ("exchange", figures.exchange_us),
        ("dispatch kernel", figures.dispatch_kernel_us),
        ("a cached dispatch", figures.dispatch_cached_us),
    ];
    let told = parts.iter().filter_map(|(name, time_us)| time_us.map(|time_us| format!("{name} {time_us:.1} us")));
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| format!("shares   {}", told.join(", ")))
}

/// Bytes on the wires, and how many times the least they are.
fn against(moved: PathMoved) -> String {
    let mib = moved.bytes as f64 / MIB;
    match moved.bytes_min {
        0 => format!("{mib:.2}"),
        least => format!("{mib:.2} ({:.3} x)", moved.bytes as f64 / least as f64),
    }
}

/// Several records, with what differs between them.
fn lines(records: &[Record], axes: &[Axis]) -> String {
    let swept: Vec<&Axis> = axes.iter().filter(|axis| axis.values.len() > 1).collect();
    let mut head: Vec<String> = swept.iter().map(|axis| axis.name.to_string()).collect();
    let columns =
        ["dispatch us", "GB/s", "combine us", "GB/s", "IB GB/s", "NVLink GB/s", "SM ms", "rings MiB", "verified"];
    head.extend(columns.map(str::to_string));
    let rows = records.iter().map(|record| {
        let figures = &record.figures;
        let mut row: Vec<String> = swept.iter().map(|axis| value_of(record, axis.name).to_string()).collect();
        row.extend([
            format!("{:.1}", figures.dispatch_us),
            format!("{:.2}", figures.dispatch_gbs_logical),
            format!("{:.1}", figures.combine_us),
            format!("{:.2}", figures.combine_gbs_logical),
            format!("{:.2}", figures.ib_gbs_wire),
            format!("{:.2}", figures.nvlink_gbs),
            format!("{:.3}", figures.sm_ms),
            format!("{:.1}", figures.buffer_bytes as f64 / MIB),
            if record.place.verified { "yes" } else { "no" }.to_string(),
        ]);
        row
    });
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let notes = records.first().map(|record| {
        format!("\nGB/s: logical bandwidth; IB and NVLink: wires of a GPU in dispatch; times: {}", record.place.times)
    });
    aligned(&rows) + &notes.unwrap_or_default()
}

/// What a record says of an axis.
pub fn value_of(record: &Record, axis: &str) -> u32 {
    let (workload, setting) = (&record.workload.class, &record.setting.tuning);
    match axis {
        "nodes" => workload.nodes,
        "gpus_per_node" => workload.gpus_per_node,
        "tokens" => workload.tokens,
        "hidden" => workload.hidden,
        "experts" => workload.experts,
        "topk" => workload.topk,
        "sms" => record.figures.sms,
        "channels" => setting.channels,
        "chunk" | "chunk_ib" => setting.chunk_ib,
        "chunk_nv" => setting.chunk_nv,
        "depth_ib" => setting.depth_ib,
        "depth_nv" => setting.depth_nv,
        _ => setting.workers,
    }
}

/// Columns to the right, as wide as their widest cell.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        cells.join("  ")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "bcd"], ["123", "4"]].map(|row| row.map(str::to_string).to_vec());
        assert_eq!(aligned(&rows), "  a  bcd\n123    4");
    }
}
