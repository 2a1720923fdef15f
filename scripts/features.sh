#!/usr/bin/env bash
# Compiles the library with every set of features that a program may choose, warnings denied. Nothing runs, and nothing
# but Rust is needed: cust looks for a CUDA installation, and gets an empty folder of that shape.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export RUSTFLAGS="${RUSTFLAGS:-} -D warnings" PTXAS=none

check() {
    echo "features: $*"
    cargo check --locked --lib "$@"
}

check --no-default-features
check --no-default-features --features emu
check --no-default-features --features cuda,cuda-12020
check --no-default-features --features cuda,cuda-13000
CUDARC_CUDA_VERSION=12080 check --no-default-features --features cuda
CUDA_LIBRARY_PATH=$PWD/ci/cuda-stub check --features cust
