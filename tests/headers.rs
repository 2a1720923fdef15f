//! The committed `ptx/include/blocks.ptxh` says what `src/plan/blocks.rs` says.

#[test]
fn blocks_header_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/ptx/include/blocks.ptxh");
    let committed = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let wanted = warpferry::plan::blocks::header();
    let differs = committed.lines().zip(wanted.lines()).position(|(have, want)| have != want);
    assert!(
        committed == wanted,
        "ptx/include/blocks.ptxh is stale from line {}: run `cargo run -p xtask -- headers`",
        differs.map_or_else(|| "its end".to_string(), |index| (index + 1).to_string())
    );
}
