#!/usr/bin/env bash
# Compares the coarse model with the emulator's clock: runs a grid of worlds on the emulator, keeps their records in cargo's
# target folder (analytic/), and prints the table of docs/perf/analytic.md. Records that are there already are not made again.
#
#     scripts/analytic.sh [--terms]
#
# With --terms each time is followed by its breakdown. The grid takes some twenty minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-}" in
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
esac

folder=${CARGO_TARGET_DIR:-target}/analytic
mkdir -p "$folder"
cargo build --release --quiet

# point MACHINE NODES GPUS TOKENS CHANNELS SMS PAYLOAD [MORE OPTIONS]
point() {
    local words=("$@")
    local file
    file=$folder/$(IFS=_; echo "${words[*]}").json
    [[ -s $file ]] && return
    "${CARGO_TARGET_DIR:-target}/release/warpferry" bench --machine "$1" --nodes "$2" --gpus-per-node "$3" --tokens "$4" \
        --channels "$5" --sms "$6" --payload "$7" "${@:8}" --no-verify --no-cached --json --out "$file" > /dev/null
}

for world in "1 8" "2 8" "4 8" "1 4" "2 4" "8 4"; do
    read -r nodes gpus <<< "$world"
    for tokens in 4096 128; do
        point h800-cx7 "$nodes" "$gpus" $tokens 16 8 bf16
        point h800-cx7 "$nodes" "$gpus" $tokens 24 24 fp8-e4m3
    done
done
for nodes in 1 2; do
    point h800-cx7 $nodes 8 4096 32 16 bf16 --workers 5
    point h800-cx7 $nodes 8 4096 32 16 bf16 --landing direct
    point h800-cx7 $nodes 8 4096 32 16 bf16 --depth-nv 16 --depth-ib 32
    point h800-cx7 $nodes 8 4096 16 16 bf16 --chunk 1
    point h800-cx7 $nodes 8 4096 16 16 fp8-e4m3 --depth-nv 16 --depth-ib 32 --chunk 8
done
for world in "1 8" "2 8" "4 8" "8 4"; do
    read -r nodes gpus <<< "$world"
    point h800-cx7 "$nodes" "$gpus" 1024 16 4 fp8-e4m3
    point h800-cx7 "$nodes" "$gpus" 1024 16 16 bf16
    point h100-cx7 "$nodes" "$gpus" 4096 16 8 fp8-e4m3
    point h100-cx7 "$nodes" "$gpus" 4096 24 24 bf16
    point h100-cx7 "$nodes" "$gpus" 512 16 16 bf16
done
for world in "8 8" "16 4"; do
    read -r nodes gpus <<< "$world"
    point h800-cx7 "$nodes" "$gpus" 4096 16 8 bf16
    point h800-cx7 "$nodes" "$gpus" 4096 16 16 fp8-e4m3
    point h800-cx7 "$nodes" "$gpus" 128 16 16 fp8-e4m3
    point h100-cx7 "$nodes" "$gpus" 1024 16 16 bf16
done
cargo bench --quiet --bench analytic -- "$@" "$PWD/$folder"/*.json
