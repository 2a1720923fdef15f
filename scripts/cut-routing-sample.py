#!/usr/bin/env python3
"""Cuts the first tokens of every rank out of a routing trace: cut-routing-sample.py TRACE OUT [TOKENS].

Keeps topk_idx, topk_weights and the header, and notes the cut there. Needs only Python.
"""

import json
import struct
import sys

BYTES = {"I16": 2, "I32": 4, "I64": 8, "BF16": 2, "F32": 4}


def main():
    source, target = sys.argv[1], sys.argv[2]
    tokens = int(sys.argv[3]) if len(sys.argv) > 3 else 128
    with open(source, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        body = file.read()
    metadata = header["__metadata__"] | {"cut": f"the first {tokens} tokens of every rank"}
    out, data = {"__metadata__": metadata}, b""
    for name in ("topk_idx", "topk_weights"):
        tensor = header[name]
        ranks, all_tokens, k = tensor["shape"]
        row = k * BYTES[tensor["dtype"]]
        start = tensor["data_offsets"][0]
        starts = [start + rank * all_tokens * row for rank in range(ranks)]
        cut = b"".join(body[at : at + tokens * row] for at in starts)
        out[name] = {
            "dtype": tensor["dtype"],
            "shape": [ranks, tokens, k],
            "data_offsets": [len(data), len(data) + len(cut)],
        }
        data += cut
    text = json.dumps(out).encode()
    text += b" " * (-len(text) % 8)
    with open(target, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


main()
