//! Points that are single acts of a warp or copies of some SMs.
//!
//! LOOM: the loom motivation experiments, raw data, H200 NVL with ConnectX-7. BONE: "GPU-Initiated Communication: Dissecting
//! Down to the Bone", Koc University, 2026, H200 with ConnectX-7. GB: RRZE-HPC gpu-benches, raw results.

use super::point::{Act, How, Point};

const LOOM: &str = "LOOM, raw data";
const NS_TO_US: f64 = 1e-3;

const fn act(
    group: &'static str,
    figure: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    scale: f64,
) -> How {
    How::Act(Act { group, figure, parameters, scale, more: scale == 1.0 })
}

const fn copy(name: &'static str, published: f64, sms: &'static [(&'static str, &'static str)]) -> Point {
    let how = act("copy", "plain_copy", sms, 1.0);
    Point { group: "copies", name, source: LOOM, machine: "h200-cx7", published, unit: "GB/s", how }
}

const fn cost(name: &'static str, source: &'static str, published: f64, how: How) -> Point {
    Point { group: "acts", name, source, machine: "h200-cx7", published, unit: "us", how }
}

/// In the order of the report.
pub const ACTS: &[Point] = &[
    copy("plain copy, 4 SMs", 117.0, &[("sms", "4")]),
    copy("plain copy, 8 SMs", 232.0, &[("sms", "8")]),
    copy("plain copy, 16 SMs", 454.0, &[("sms", "16")]),
    copy("plain copy, 20 SMs", 574.0, &[("sms", "20")]),
    copy("plain copy, 32 SMs", 809.0, &[("sms", "32")]),
    cost(
        "system fence after a store",
        LOOM,
        0.58,
        act("fence", "fence", &[("fence", "acq_rel.sys"), ("plain_stores", "1"), ("bulk_bytes", "0")], NS_TO_US),
    ),
    cost(
        "GPU fence after a store",
        "BONE: issue with a GPU fence less issue without",
        0.51,
        act("fence", "fence", &[("fence", "acq_rel.gpu"), ("plain_stores", "1"), ("bulk_bytes", "0")], NS_TO_US),
    ),
    cost("load of host memory", LOOM, 0.70, act("load", "load", &[("memory", "host"), ("order", "weak")], NS_TO_US)),
    cost(
        "posted store to host memory",
        LOOM,
        0.03,
        act("post", "post", &[("act", "st.relaxed.sys"), ("fence_behind", "false")], NS_TO_US),
    ),
    cost(
        "load that L2 answers",
        "GB, chase up to 25 MB, 280 clocks of 1980 MHz",
        0.141,
        act("load", "load", &[("memory", "device"), ("order", "weak")], NS_TO_US),
    ),
];
