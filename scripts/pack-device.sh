#!/usr/bin/env bash
# Packs what scripts/device.sh needs on a machine without Rust: pack-device.sh [OUT_DIR] (default: device-pack).
#
# Release builds of the command line, the tests `checkptx` and `worlds`, and the bench `device`, stripped; device.sh; and
# MANIFEST with commit, date, tool versions, the C library that the programs need, and a checksum of each file. Kernels
# are assembled where a ptxas is found (PTXAS, CUDA_HOME, PATH, or scripts/fetch-ptxas.sh); without one the GPU's driver
# compiles them. All inputs are inside the programs. Fails above 64 MiB.
set -euo pipefail
invoked=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

limit_bytes=$((64 << 20))
out=${1:-device-pack}
[[ $# -le 1 && $out != -* ]] || { echo "usage: pack-device.sh [OUT_DIR]" >&2; exit 2; }
[[ -z ${1:-} || $out == /* ]] || out=$invoked/$out

if [[ -z ${PTXAS:-} && -x tools/cuda/bin/ptxas ]]; then
    export PTXAS=$PWD/tools/cuda/bin/ptxas
fi
if [[ ${PTXAS:-} == none ]]; then
    ptxas="none: PTXAS=none"
elif tool=${PTXAS:-$(command -v "${CUDA_HOME:+$CUDA_HOME/bin/}ptxas" || command -v ptxas)}; then
    ptxas="$("$tool" --version | tail -n 1)"
else
    ptxas="none found"
fi

# Before the builds, which take a while.
commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[[ -z $(git status --porcelain --untracked-files=no 2>/dev/null) ]] || commit+=" with changes"

messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
cargo build --locked --release --bin warpferry --message-format=json >>"$messages"
cargo test --locked --release --no-run --test checkptx --test worlds --message-format=json >>"$messages"
cargo bench --locked --no-run --bench device --message-format=json >>"$messages"

# built KIND NAME: the executable that cargo says it built of this kind and name.
built() {
    local line
    line=$(grep '"reason":"compiler-artifact"' "$messages" | grep "\"kind\":\[\"$1\"\]" | grep "\"name\":\"$2\"" \
        | grep '"executable":"' | tail -n 1) || true
    [[ -n $line ]] || { echo "pack-device: cargo built no $1 $2" >&2; return 1; }
    sed -e 's/.*"executable":"\([^"]*\)".*/\1/' <<<"$line"
}

mkdir -p "$out"
rm -f "$out"/{warpferry,checkptx,worlds,device,device.sh,MANIFEST}
programs=(warpferry checkptx worlds device)
kinds=(bin test test bench)
for index in "${!programs[@]}"; do
    program=${programs[index]}
    path=$(built "${kinds[index]}" "$program")
    cp "$path" "$out/$program"
    strip "$out/$program"
done
cp scripts/device.sh "$out/device.sh"
chmod +x "$out/device.sh"

glibc=unknown
if command -v objdump >/dev/null; then
    glibc=$(cd "$out" && objdump -T "${programs[@]}" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
fi
{
    echo "commit: $commit"
    echo "date: $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    echo "machine: $(uname -sm)"
    echo "rustc: $(rustc --version)"
    echo "ptxas: $ptxas"
    echo "needs: ${glibc/_/ } or later, libgcc_s, and an NVIDIA driver for CUDA 12.2 or later"
    (cd "$out" && sha256sum "${programs[@]}" device.sh) | sed 's/^/sha256: /'
} >"$out/MANIFEST"

bytes=$(du -cb "$out"/{warpferry,checkptx,worlds,device,device.sh,MANIFEST} | tail -n 1 | cut -f 1)
cat "$out/MANIFEST"
echo "pack-device: $((bytes >> 10)) KiB in $out"
if [[ $ptxas == none* ]]; then
    echo "pack-device: no ptxas: the packed programs have no assembled kernels; scripts/fetch-ptxas.sh fetches one"
fi
((bytes < limit_bytes)) || { echo "pack-device: more than $((limit_bytes >> 20)) MiB" >&2; exit 1; }
