//! Names of the special registers.

/// Vector-valued special registers; their components are `.x` to `.w`.
const VECTORS: [&str; 8] =
    ["tid", "ntid", "ctaid", "nctaid", "clusterid", "nclusterid", "cluster_ctaid", "cluster_nctaid"];

const SCALARS: [&str; 29] = [
    "laneid",
    "warpid",
    "nwarpid",
    "smid",
    "nsmid",
    "gridid",
    "is_explicit_cluster",
    "cluster_ctarank",
    "cluster_nctarank",
    "lanemask_eq",
    "lanemask_le",
    "lanemask_lt",
    "lanemask_ge",
    "lanemask_gt",
    "clock",
    "clock_hi",
    "clock64",
    "globaltimer",
    "globaltimer_lo",
    "globaltimer_hi",
    "reserved_smem_offset_begin",
    "reserved_smem_offset_end",
    "reserved_smem_offset_cap",
    "reserved_smem_offset_0",
    "reserved_smem_offset_1",
    "total_smem_size",
    "aggr_smem_size",
    "dynamic_smem_size",
    "current_graph_exec",
];

/// True for a special register that is a vector as a whole, such as `tid`.
pub fn is_special_vector(name: &str) -> bool {
    VECTORS.contains(&name)
}

/// True for the name of a special register without `%`, component included: `tid.x`, `clock64`, `envreg3`.
pub fn is_special_register(name: &str) -> bool {
    if let Some((vector, component)) = name.split_once('.') {
        return VECTORS.contains(&vector) && matches!(component, "x" | "y" | "z" | "w");
    }
    VECTORS.contains(&name) || SCALARS.contains(&name) || numbered(name)
}

/// Width in bits of a special register's value; `None` for an unknown name or a whole vector.
pub fn special_register_bits(name: &str) -> Option<u32> {
    if !is_special_register(name) || VECTORS.contains(&name) {
        return None;
    }
    Some(match name {
        "clock64" | "globaltimer" | "gridid" | "current_graph_exec" => 64,
        "is_explicit_cluster" => 1,
        name if name.starts_with("pm") && name.ends_with("_64") => 64,
        _ => 32,
    })
}

fn numbered(name: &str) -> bool {
    if let Some(number) = name.strip_prefix("envreg") {
        return number.parse::<u32>().is_ok_and(|n| n < 32 && n.to_string() == number);
    }
    if let Some(counter) = name.strip_prefix("pm") {
        let number = counter.strip_suffix("_64").unwrap_or(counter);
        return number.parse::<u32>().is_ok_and(|n| n < 8 && n.to_string() == number);
    }
    false
}
