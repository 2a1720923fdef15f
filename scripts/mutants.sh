#!/usr/bin/env bash
# Tries the mutants of the kernels and writes docs/mutants.md: what was changed, who saw it, what survives.
#
#   scripts/mutants.sh [--fabric mlx5|loopback] [--kernel layout|exchange|dispatch|combine] [--seconds N] [--from N]
#                      [--threads N] [--edges] [--afresh] [--tell]
#
# Without --fabric both are tried. What was tried before is in target/mutants (WARPFERRY_MUTANTS_RESULTS names another
# folder) and counts as long as the kernel is the same and, for a survivor, all runs are, for what was caught, the run that
# did it: a run can be stopped and taken up again. --afresh tries again what was tried with other runs, or before a change
# of the emulator, the NIC, the host's side or the worlds; what caught a mutant before comes first. --seconds bounds the
# time of each fabric, after two or three minutes in which every run is made with the sound kernels; --from leaves out the
# first mutants; --edges tries fences, barriers, waits, orders and scopes only.
# The page and the list for CI are written when all of both fabrics were tried and went well; --tell writes them from
# the record as it is. Fails when a mutant survives without an argument, or was not tried.
#
# One mutant again, in the run (of tests/worlds/mutation/suite.rs) that caught it, as the lines of a long run name both; or
# in all runs, without :RUN; `list` in the place of the number names all mutants of a kernel:
#
#   WARPFERRY_MUTANT=FABRIC:KERNEL:NUMBER[:RUN] PTXAS=none cargo test --release --test worlds -- \
#       --exact mutation::run::again --nocapture
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fabrics="mlx5 loopback"
tell_only=0
export WARPFERRY_MUTANTS_THREADS=${WARPFERRY_MUTANTS_THREADS:-$(nproc)}
usage() { sed -n '4,5p' "$0" | sed 's/^# *//' >&2; exit 2; }
help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0; }
while (($#)); do
    case $1 in
        -h | --help) help ;;
        --tell) tell_only=1; shift; continue ;;
        --edges) export WARPFERRY_MUTANTS_EDGES=1; shift; continue ;;
        --afresh) export WARPFERRY_MUTANTS_AFRESH=1; shift; continue ;;
        --fabric | --kernel | --seconds | --from | --threads) (($# >= 2)) || usage ;;
        *) echo "mutants: $1 is no option" >&2; usage ;;
    esac
    case $1-$2 in
        --fabric-mlx5 | --fabric-loopback) ;;
        --fabric-*) echo "mutants: --fabric $2: valid is mlx5 or loopback" >&2; exit 2 ;;
        --kernel-layout | --kernel-exchange | --kernel-dispatch | --kernel-combine) ;;
        --kernel-quantize | --kernel-pad | --kernel-land) ;;
        --kernel-*) echo "mutants: --kernel $2: valid is layout, exchange, dispatch, combine, quantize, pad or land" >&2; exit 2 ;;
        --threads-0*) echo "mutants: --threads $2: valid is 1 to 64" >&2; exit 2 ;;
        *)
            [[ $2 =~ ^[0-9]{1,9}$ ]] || { echo "mutants: $1 $2: valid is a whole number" >&2; exit 2; } ;;
    esac
    case $1 in
        --fabric) fabrics=$2 ;;
        --kernel) export WARPFERRY_MUTANTS_KERNEL=$2 ;;
        --seconds) export WARPFERRY_MUTANTS_SECONDS=$2 ;;
        --from) export WARPFERRY_MUTANTS_FROM=$2 ;;
        --threads) export WARPFERRY_MUTANTS_THREADS=$2 ;;
    esac
    shift 2
done

export RUST_BACKTRACE=0 PTXAS=none
WARPFERRY_MUTANTS_RESULTS=${WARPFERRY_MUTANTS_RESULTS:-$PWD/${CARGO_TARGET_DIR:-target}/mutants}
[[ ${CARGO_TARGET_DIR:-} == /* ]] && WARPFERRY_MUTANTS_RESULTS=${WARPFERRY_MUTANTS_RESULTS#"$PWD/"}
export WARPFERRY_MUTANTS_RESULTS
run() {
    WARPFERRY_MUTANTS=$1 nice cargo test --locked --release --test worlds -- --exact \
        mutation::run::every_mutant_of_the_sources --nocapture
}

status=0
if ((!tell_only)); then
    for fabric in $fabrics; do
        run "$fabric" || status=$?
    done
fi
# A run that was cut, or only of some, leaves the page and the list as they are: its record is not the whole.
if ((tell_only || status == 0)) &&
    [[ -z ${WARPFERRY_MUTANTS_KERNEL:-}${WARPFERRY_MUTANTS_FROM:-}${WARPFERRY_MUTANTS_EDGES:-} && $fabrics == *" "* ]]; then
    run tell
else
    echo "mutants: the page is not written: --tell writes it from the record in $WARPFERRY_MUTANTS_RESULTS"
fi
exit "$status"
