#!/usr/bin/env bash
# Checks and measures warpferry on this machine's GPU: device.sh [PACK_DIR] [--out DIR] [--backend cuda|emu] [--tiny].
#
# Needs what scripts/pack-device.sh packed (PACK_DIR, by default the folder of this script), the NVIDIA driver, bash and
# coreutils: no Rust, no source tree, no CUDA toolkit. Writes device-result.json and device-result.txt into DIR (default:
# device-result here) and ends with 0 only when every step passed. Damaged files, and a machine without a GPU that the
# kernels can run on, stop it at once; no other step that fails does. A step that this machine cannot run is skipped and
# says why. All of it ends within 8 minutes: steps have limits of their own, and late
# ones are shortened or left out, which counts as not passed.
#
# --backend emu runs the same on the emulator, in small: a test of the script. --tiny: small on a GPU too.
set -uo pipefail

# Seconds: of everything, kept for the benches, kept for the report.
total=455
kept_for_benches=150
kept_for_report=10
# Seconds for what answers at once: a list of tests, a version, the report.
answer_s=${WARPFERRY_DEVICE_ANSWER_S:-10}
[[ $answer_s =~ ^[1-9][0-9]?$ ]] || { echo "device: WARPFERRY_DEVICE_ANSWER_S = $answer_s: valid is 1 to 99" >&2; exit 2; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pack='' out=$PWD/device-result backend=cuda tiny=0

usage_line="usage: device.sh [PACK_DIR] [--out DIR] [--backend cuda|emu] [--tiny]"

usage() {
    echo "device: $1" >&2
    echo "$usage_line" >&2
    exit 2
}

help() {
    echo "$usage_line"
    echo "Checks and measures warpferry on this machine's GPU with what scripts/pack-device.sh packed."
    echo "  PACK_DIR            folder of the programs (default: the folder of this script)"
    echo "  --out DIR           folder of device-result.json and device-result.txt (default: device-result here)"
    echo "  --backend cuda|emu  where kernels run (default: cuda); emu is the same on the emulator, in small"
    echo "  --tiny              in small on a GPU too"
    echo "Ends with 0 when every step passed, with 1 when one did not, with 2 for bad usage."
}

while (($#)); do
    case $1 in
        --out) out=${2:-}; [[ -n $out ]] || usage "--out needs a folder"; shift 2 ;;
        --backend) backend=${2:-}; [[ $backend == cuda || $backend == emu ]] || usage "--backend is cuda or emu"; shift 2 ;;
        --tiny) tiny=1; shift ;;
        -h | --help) help; exit 0 ;;
        -*) usage "$1 is no option" ;;
        '') usage "a folder without a name" ;;
        *) [[ -z $pack ]] || usage "$1 is one folder too many: PACK_DIR is $pack"; pack=$1; shift ;;
    esac
done
pack=${pack:-$here}
[[ $backend == emu ]] && tiny=1
[[ -d $pack ]] || usage "$pack is no folder"
pack=$(cd "$pack" && pwd)
for program in warpferry checkptx worlds device; do
    [[ -x $pack/$program ]] || usage "$pack/$program is missing: scripts/pack-device.sh makes such a folder"
done
mkdir -p "$out" || usage "$out cannot be made"
out=$(cd "$out" && pwd)

# Only what this script made is removed: its own mark says so.
record=$out/.device-record
mark=$record/made-by-warpferry-device
if [[ -e $record || -L $record ]]; then
    [[ -d $record && ! -L $record && -f $mark ]] || usage "$record is not of this script's making: take it away, or choose another --out"
    rm -rf "$record"
fi
rm -f "$out/device-result.json" "$out/device-result.txt"
if ! { mkdir -p "$record/facts" "$record/steps" && : >"$mark"; }; then
    usage "$record cannot be made"
fi
deadline=$((SECONDS + total))
number=0
# Ranks that share a GPU need a hardware queue for each of their streams.
export CUDA_DEVICE_MAX_CONNECTIONS=${CUDA_DEVICE_MAX_CONNECTIONS:-32}
# A backtrace of a failed test says where.
export RUST_BACKTRACE=${RUST_BACKTRACE:-1}

fact() {
    local name=$1
    shift
    timeout -k 2 10 "$@" >"$record/facts/$name" 2>/dev/null || rm -f "$record/facts/$name"
}

# begin NAME: the folder of the next step, in $step.
begin() {
    number=$((number + 1))
    step=$record/steps/$(printf '%02d' "$number")-$1
    mkdir -p "$step"
}

skip() {
    begin "$1"
    echo "$2" >"$step/skipped"
    echo "skipped: $1: $2"
}

# step NAME LIMIT_S COMMAND...: runs it for as long as its limit and the time left allow.
step() {
    local name=$1 limit=$2 left start code
    shift 2
    begin "$name"
    echo "$*" >"$step/command"
    left=$((deadline - SECONDS - kept_for_report))
    [[ $name == bench ]] || left=$((left - kept_for_benches))
    if ((left < 3)); then
        echo "the time of $total seconds is used up" >"$step/unreached"
        echo "not reached: $name: the time of $total seconds is used up"
        return
    fi
    ((limit > left)) && limit=$left
    echo "$limit" >"$step/limit"
    start=$(date +%s.%N)
    timeout -k 5 "$limit" "$@" >"$step/stdout" 2>"$step/stderr" </dev/null
    code=$?
    echo "$code" >"$step/exit"
    # Bash has no fractions.
    awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { printf "%.2f\n", b - a }' >"$step/seconds" 2>/dev/null \
        || echo $(($(date +%s) - ${start%.*})) >"$step/seconds"
    echo "$([[ $code == 0 ]] && echo passed || echo "FAILED ($code)"): $name ($(<"$step/seconds") s)"
}

# demo NAME LIMIT_S OPTION...: one dispatch and one combine, compared bit for bit.
demo() {
    local name=$1 limit=$2
    shift 2
    step "$name" "$limit" "$pack/warpferry" demo --json --backend "$backend" --timeout-s 10 "$@"
}

# tests NAME LIMIT_S PROGRAM FILTER...: what of a test program the filters leave. A program that cannot even list its tests,
# and filters that leave none, are failures.
tests() {
    local name=$1 limit=$2 program=$pack/$3 list=$record/list code
    shift 3
    timeout -k 2 "$answer_s" "$program" --list "$@" >"$list.stdout" 2>"$list.stderr" </dev/null
    code=$?
    if ((code == 0)) && grep -q ': test$' "$list.stdout"; then
        step "$name" "$limit" env WARPFERRY_BACKEND="$backend" "$program" --nocapture --test-threads 1 "$@"
        return
    fi
    begin "$name"
    mv "$list.stdout" "$step/stdout"
    mv "$list.stderr" "$step/stderr"
    echo "$program --list $*" >"$step/command"
    echo "$answer_s" >"$step/limit"
    ((code)) || echo "no test of $program is left by: $*" >>"$step/stderr"
    echo "$((code ? code : 1))" >"$step/exit"
    echo "FAILED ($code): $name: it lists no tests"
}

# checked TOOL LIMIT_S COMMAND...: under the sanitizer, which may not know this device or may not be whole: that is no
# finding, so such a step counts as skipped. Only its own lines, which begin with a bar, tell.
checked() {
    local tool=$1 limit=$2 said
    shift 2
    step "$tool" "$limit" "$checker" --tool "$tool" --error-exitcode 9 "$@"
    [[ -f $step/exit && $(<"$step/exit") != 0 ]] || return
    said=$(cat "$step/stdout" "$step/stderr" | grep '^=========')
    grep -qE 'Invalid |Misaligned |Program hit|[Rr]ace reported|[Hh]azard |Leaked ' <<<"$said" && return
    said=$(grep -iE -m 1 'not supported|unable to' <<<"$said") || return
    echo "compute-sanitizer refuses: ${said#=========}" >"$step/skipped"
    echo "skipped: $tool: $(<"$step/skipped")"
}

# finish: writes the results of what was recorded and ends.
finish() {
    local code=1 why
    echo "$((SECONDS - deadline + total))" >"$record/facts/seconds"
    echo
    timeout -k 2 "$answer_s" "$pack/warpferry" device-report "$record" --json "$out/device-result.json" \
        --text "$out/device-result.txt" && code=0
    if [[ ! -s $out/device-result.json ]]; then
        # The program does not even start here: the reason is all there is to tell.
        timeout -k 2 "$answer_s" "$pack/warpferry" --version >"$record/version" 2>&1 </dev/null
        why="exit code $? of --version: $(head -n 3 "$record/version" | tr '\n' ' ' | tr -d '"\\[:cntrl:]')"
        printf '{"schema": 1, "passed": false, "commit": "%s", "error": "warpferry does not run: %s"}\n' \
            "${commit:-unknown}" "$why" >"$out/device-result.json"
        echo "NOT PASSED: warpferry does not run: $why" | tee "$out/device-result.txt"
        code=1
    fi
    echo "device: results in $out/device-result.json and $out/device-result.txt"
    exit "$code"
}

# stop WHY: after a step without which the others would show nothing.
stop() {
    echo "$1" >"$record/facts/stopped"
    echo "device: stopped: $1"
    finish
}

sanitizer() {
    local folder
    command -v compute-sanitizer && return
    for folder in "${CUDA_HOME:-/usr/local/cuda}" /usr/local/cuda /usr/local/cuda-*; do
        [[ -x $folder/bin/compute-sanitizer ]] && { echo "$folder/bin/compute-sanitizer"; return; }
    done
    return 1
}

echo "$backend" >"$record/facts/backend"
date -u +%Y-%m-%dT%H:%M:%SZ >"$record/facts/date"
fact command echo "device.sh $pack --out $out --backend $backend$( ((tiny)) && echo " --tiny")"
[[ -f $pack/MANIFEST ]] && cp "$pack/MANIFEST" "$record/facts/manifest"
commit=$(sed -n 's/^commit: *//p' "$pack/MANIFEST" 2>/dev/null)
echo "${commit:-unknown}" >"$record/facts/commit"
export WARPFERRY_COMMIT=${commit:-unknown}
fact kernel uname -srm
fact libc ldd --version
fact cpus nproc
if command -v nvidia-smi >/dev/null; then
    fact nvidia_smi nvidia-smi
    fact nvidia_smi_query nvidia-smi --format=csv --query-gpu=name,driver_version,compute_cap,memory.total,clocks.max.sm,clocks.sm,clocks.mem,power.limit,temperature.gpu,ecc.mode.current,persistence_mode
    fact nvidia_smi_topology nvidia-smi topo -m
else
    echo "skipped: nvidia-smi facts: there is no nvidia-smi"
    echo "there is no nvidia-smi" >"$record/facts/nvidia_smi"
fi
[[ -f $record/facts/nvidia_smi ]] && cat "$record/facts/nvidia_smi"

if [[ -f $pack/MANIFEST ]] && command -v sha256sum >/dev/null; then
    step pack 30 bash -c 'cd "$1" && sed -n "s/^sha256: *//p" MANIFEST | sha256sum --check --strict --quiet' - "$pack"
    [[ $(<"$step/exit") == 0 ]] || stop "files of $pack are not those that were packed: copy the folder again"
else
    skip pack "no MANIFEST or no sha256sum: the files were not checked"
fi

required=()
[[ $backend == cuda ]] && required=(--require-gpu)
step doctor 20 "$pack/warpferry" doctor --json "${required[@]}"
[[ -s $step/stdout ]] && cp "$step/stdout" "$record/doctor.json"
if [[ $(<"$step/exit") != 0 ]]; then
    why=$(head -n 3 "$step/stderr" | tr '\n' ' ')
    why=${why% }
    stop "${why:-doctor failed with $(<"$step/exit")}"
fi

# Mutants are damaged kernels: they belong on the emulator, which stops what runs wild.
if ((tiny)); then
    WARPFERRY_CASES=0 tests checkptx 60 checkptx bulk::
else
    tests checkptx 90 checkptx --skip mutants:: --skip replay:: --skip stands_in::
fi

if ((tiny)); then
    worlds="1x1 2x2" size="--hidden 64 --tokens 8"
else
    worlds="1x1 1x2 2x1 2x2 2x4 3x2 1x8" size="--hidden 1024 --tokens 64"
fi
for fabric in loopback mlx5; do
    for world in $worlds; do
        # shellcheck disable=SC2086 # sizes are several words
        demo "world-$world-$fabric" 20 --nodes "${world%x*}" --gpus-per-node "${world#*x}" --experts 48 --topk 6 \
            --fabric "$fabric" $size
    done
done
if ((tiny)); then
    demo world-recorded 20 --fabric loopback --hidden 64 --tokens 4
else
    demo world-recorded-loopback 30 --fabric loopback --tokens 128
    demo world-recorded-mlx5 30 --fabric mlx5 --tokens 128
fi
if [[ $backend == cuda ]]; then
    demo jit 60 --nodes 2 --gpus-per-node 2 --experts 48 --topk 6 --hidden 256 --tokens 16 --jit
    tests worlds 90 worlds device:: --skip stand_in --skip replay
else
    skip jit "the emulator compiles nothing"
    tests worlds 60 worlds replay::replay
fi

# One rank: under the sanitizer launches may run one after another, and those of several ranks wait for each other.
small="demo --json --backend cuda --timeout-s 30 --nodes 1 --gpus-per-node 1 --experts 4 --topk 2 --hidden 64 --tokens 8 --channels 2 --fabric loopback"
if [[ $backend == emu ]]; then
    skip memcheck "the emulator checks memory itself"
    skip racecheck "the emulator checks memory itself"
elif checker=$(sanitizer); then
    # shellcheck disable=SC2086 # options are several words
    checked memcheck 50 "$pack/warpferry" $small
    # shellcheck disable=SC2086
    checked racecheck 50 "$pack/warpferry" $small
else
    skip memcheck "there is no compute-sanitizer (PATH, CUDA_HOME, /usr/local/cuda)"
    skip racecheck "there is no compute-sanitizer (PATH, CUDA_HOME, /usr/local/cuda)"
fi

seconds=$((deadline - SECONDS - kept_for_report - 20))
((seconds > 210)) && seconds=210
((seconds < 10)) && seconds=10
options=()
((tiny)) && options=(--tiny)
step bench $((seconds + 20)) "$pack/device" --backend "$backend" --json "$record/bench.json" --seconds "$seconds" "${options[@]}"

finish
