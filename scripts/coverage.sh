#!/usr/bin/env bash
# Coverage of the kernels: runs the tests that run kernels on the emulator and prints, for each variant, how many
# instructions ran and how many guards were seen both ways, then what was not seen. docs/coverage.md explains what cannot
# be; exits nonzero when something else was not seen, or when something explained was.
#
#     scripts/coverage.sh [FOLDER]
#
# FOLDER (default: coverage in cargo's target folder, emptied first) keeps the records.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "$#-${1:-}" in
    1--h | 1---help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    0- | 1-[!-]*) ;;
    *) sed -n 's/^#     /usage: /p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
folder=${1:-${CARGO_TARGET_DIR:-$PWD/target}/coverage}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
find "$folder" -maxdepth 1 -name '*.coverage' -delete

WARPFERRY_COVERAGE=$folder cargo test --locked --release --lib --test worlds --test checkptx --test cached
cargo run --locked --quiet -p xtask -- coverage "$folder"
