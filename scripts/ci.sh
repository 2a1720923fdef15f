#!/usr/bin/env bash
# Every check, in the order in which failures are cheapest: format, lints, docs, tests without ptxas, then with it,
# where the tests are the command that README names, the main command of README, and what a machine with a GPU would run:
# packed, then run on the emulator and on the stand-in for the CUDA driver library, in small.
#
# Needs Rust with rustfmt and clippy, and a C compiler. Python's pip, for ptxas, is installed when missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

# step NAME COMMAND...: runs it, keeps what it prints, says how long it took.
step() {
    local name=$1 start=$SECONDS
    shift
    echo "== $name: $*"
    "$@" 2>&1 | tee "$log/$name"
    echo "== $name: $((SECONDS - start)) s"
}

# lacks PROGRAM HINT
require() {
    command -v "$1" >/dev/null || { echo "ci: $1 is missing: $2" >&2; exit 1; }
}

# The first line of README that starts with the given words, as a reader would copy it.
readme_command() {
    local line
    line=$(grep -m 1 -E "^ *$1" README.md | sed -e 's/^ *//' -e 's/ *#.*$//') || true
    [[ -n $line ]] || { echo "ci: README.md names no command that starts with \`$1\`" >&2; exit 1; }
    echo "$line"
}

require cargo "https://rustup.rs"
require cc "a C compiler expands the kernels"
cargo fmt --version >/dev/null || { echo "ci: rustfmt is missing: rustup component add rustfmt" >&2; exit 1; }
cargo clippy --version >/dev/null || { echo "ci: clippy is missing: rustup component add clippy" >&2; exit 1; }
if ! python3 -m pip --version >/dev/null 2>&1; then
    step install-pip bash -c "apt-get update -q && apt-get install -q -y --no-install-recommends python3 python3-pip"
fi

test_command=$(readme_command "cargo test")
main_command=$(readme_command "cargo run --release")

step format cargo fmt --all --check
export PTXAS=none
step lints cargo clippy --locked --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" step docs cargo doc --locked --workspace --no-deps
step features scripts/features.sh
step stand-in cargo build --locked -p warpferry-cuda-emu
export WARPFERRY_REQUIRE_STANDIN=1
WARPFERRY_CUDA_STANDIN=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)/libcuda_emu.so
export WARPFERRY_CUDA_STANDIN
step tests-without-ptxas cargo test --locked --workspace --no-fail-fast
skipped=$(grep -c 'skipped: ' "$log/tests-without-ptxas" || true)
unset PTXAS

step fetch-ptxas bash scripts/fetch-ptxas.sh
PTXAS=$PWD/tools/cuda/bin/ptxas WARPFERRY_REQUIRE_PTXAS=1 step tests-with-ptxas bash -c "$test_command"
still_skipped=$(grep -c 'skipped: ' "$log/tests-with-ptxas" || true)
step main bash -c "$main_command"
grep -q '^verified' "$log/main" || { echo "ci: \`$main_command\` did not print verified" >&2; exit 1; }

PTXAS=$PWD/tools/cuda/bin/ptxas step pack-device bash scripts/pack-device.sh "$log/pack"
step device-on-the-emulator bash "$log/pack/device.sh" --backend emu --out "$log/on-the-emulator"
mkdir "$log/driver"
cp "$WARPFERRY_CUDA_STANDIN" "$log/driver/libcuda.so.1"
# Few SMs: checks poison the shared memory of all.
WARPFERRY_CUDA_EMU_SMS=32 LD_LIBRARY_PATH=$log/driver step device-on-the-stand-in bash "$log/pack/device.sh" --tiny --out "$log/on-the-stand-in"
left_out=$(cat "$log"/device-on-* | grep -c '^skipped: ' || true)

echo "ci: device.sh left out $left_out steps, each said so above"
echo "ci: tests skipped $skipped things without ptxas and $still_skipped with it, each said so above: they need a GPU, or are litmus tests beyond the emulator"
echo "ci: all green; $SECONDS s"
