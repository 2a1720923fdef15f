#!/usr/bin/env bash
# Brings ptxas, nvdisasm and cuobjdump of one pinned version into tools/cuda/bin.
#
# They come out of NVIDIA's PyPI wheels, whose licence (CUDA EULA) forbids us to ship them: tools/ is ignored by git.
# Needs python3 with pip. Running it again does nothing.
set -euo pipefail

version=13.5.37
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=$root/tools/cuda/bin
stamp=$root/tools/cuda/version

if [[ -f $stamp && $(<"$stamp") == "$version" && -x $bin/ptxas && -x $bin/nvdisasm && -x $bin/cuobjdump ]]; then
    echo "fetch-ptxas: $version is in $bin"
    exit 0
fi

case "$(uname -s)-$(uname -m)" in
    Linux-x86_64 | Linux-aarch64) ;;
    *) echo "fetch-ptxas: no wheel of ptxas for $(uname -s)-$(uname -m)" >&2; exit 1 ;;
esac

wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
echo "fetch-ptxas: downloading $version from PyPI"
# Without --no-deps pip would bring the whole toolkit.
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$wheels" \
    "nvidia-cuda-nvcc==$version" "nvidia-cuda-nvdisasm==$version" "nvidia-cuda-cuobjdump==$version"

mkdir -p "$bin"
rm -f "$stamp"
python3 - "$wheels" "$bin" <<'PYTHON'
import os
import pathlib
import sys
import zipfile

wheels, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
wanted = {"ptxas", "nvdisasm", "cuobjdump"}
for wheel in sorted(wheels.glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            name = member.rsplit("/", 1)[-1]
            if name not in wanted or not member.endswith(f"/bin/{name}"):
                continue
            # Written beside and renamed, so that a run cut short leaves no half of a tool.
            part = out / f".{name}.part"
            part.write_bytes(archive.read(member))
            part.chmod(0o755)
            os.replace(part, out / name)
            wanted.discard(name)
            print(f"fetch-ptxas: {name} from {wheel.name}")
if wanted:
    sys.exit(f"fetch-ptxas: not in the wheels: {', '.join(sorted(wanted))}")
PYTHON

echo "$version" >"$stamp"
touch "$root/build.rs" # the next build looks for ptxas again
"$bin/ptxas" --version | tail -n 1
echo "fetch-ptxas: $version is in $bin"
