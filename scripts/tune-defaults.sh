#!/usr/bin/env bash
# Regenerates the settings that ship with the library, tuned/shipped.toml, by the tuner itself: one search for every machine,
# world and number of tokens in the list below. The same build gives the same file.
#
#     scripts/tune-defaults.sh [MACHINE...]
#
# With machines only theirs are searched; entries of the others stay. A search that was cut goes on from its journal in cargo's
# target folder (tune-defaults/); journals of another version or clock are refused: remove them. WARPFERRY_TUNE_BUDGET is the most
# points of each (default: 80).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-}" in
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
esac

machines=("$@")
budget=${WARPFERRY_TUNE_BUDGET:-80}
store=tuned/shipped.toml
if [[ ${#machines[@]} -eq 0 ]]; then
    machines=(h800-cx7 h100-cx7 h200-cx7 b200-cx7 generic)
    echo "format = 1" >"$store"
fi
journals=${CARGO_TARGET_DIR:-$PWD/target}/tune-defaults

# Nodes, tokens and node limit (- for none); 8 GPUs a node, shapes of DeepSeek-V3: training and prefill, then decode.
worlds=("1 4096 -" "2 4096 -" "4 4096 4" "8 4096 4" "1 128 -" "2 128 -" "4 128 -" "8 128 -")

cargo build --locked --release --bin warpferry
warpferry=${CARGO_TARGET_DIR:-$PWD/target}/release/warpferry
mkdir -p "$journals"

for machine in "${machines[@]}"; do
    for world in "${worlds[@]}"; do
        read -r nodes tokens limit <<<"$world"
        gate=()
        [[ $limit == - ]] || gate=(--node-limit "$limit")
        echo "tune-defaults: $machine, $nodes x 8, $tokens tokens ${gate[*]}"
        "$warpferry" tune --machine "$machine" --nodes "$nodes" --gpus-per-node 8 --tokens "$tokens" --hidden 7168 \
            --experts 256 --topk 8 --payload fp8-e4m3 "${gate[@]}" --budget "$budget" \
            --resume "$journals/$machine-$nodes-$tokens.jsonl" --store "$store"
    done
done
# What the program wrote has no head.
head='# Settings that ship with the library. Written by scripts/tune-defaults.sh; not to be edited by hand.'
printf '%s\n%s\n' "$head" "$(grep -v '^#' "$store")" >"$store"
echo "tune-defaults: $store"
