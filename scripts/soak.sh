#!/usr/bin/env bash
# Soak: random worlds, routings, troubles and schedules on the emulated cluster until time is up, or until that many
# schedules have run with the race check on and nothing wrong on purpose.
#
#     scripts/soak.sh SECONDS
#     scripts/soak.sh --schedules N
#
# WARPFERRY_SOAK_SEED chooses the cases (default: the time, which is printed), WARPFERRY_SOAK_JOBS how many are played at
# once (default: all cores), WARPFERRY_SOAK_OUT the folder for summary.md, summary.json and findings.txt (default: soak in
# cargo's target folder). Exits nonzero when it found something; each finding has a line to paste that replays it. What is
# under way when time is up ends first: a case, and the minute at most in which a finding is made smaller.
#
# With WARPFERRY_MUTANT=FABRIC:KERNEL:NUMBER, as scripts/mutants.sh prints it, the kernels have that mutant, and the soak
# ends when it is found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    sed -n 's/^#     /usage: /p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

whole() {
    [[ $1 =~ ^[1-9][0-9]{0,8}$ ]] || { echo "soak: $1: valid is a whole number from 1 to 999999999" >&2; usage; }
}

case "$#-${1:-}" in
    1--h | 1---help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    2---schedules) whole "$2"; export WARPFERRY_SOAK_SCHEDULES=$2; unset WARPFERRY_SOAK_SECONDS ;;
    1-*) whole "$1"; export WARPFERRY_SOAK_SECONDS=$1; unset WARPFERRY_SOAK_SCHEDULES ;;
    *) usage ;;
esac
export WARPFERRY_SOAK_SEED=${WARPFERRY_SOAK_SEED:-$(date +%s)}
export WARPFERRY_SOAK_JOBS=${WARPFERRY_SOAK_JOBS:-$(getconf _NPROCESSORS_ONLN)}
export WARPFERRY_SOAK_OUT=${WARPFERRY_SOAK_OUT:-${CARGO_TARGET_DIR:-$PWD/target}/soak}
mkdir -p "$WARPFERRY_SOAK_OUT"
WARPFERRY_SOAK_OUT=$(cd "$WARPFERRY_SOAK_OUT" && pwd)

cargo test --locked --release --test worlds soak::soak -- --exact --nocapture
echo "soak: summary in $WARPFERRY_SOAK_OUT"
