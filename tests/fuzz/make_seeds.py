#!/usr/bin/env python3
"""Makes the synthetic seeds in tests/fuzz/seeds from the archives in tests/import/data.

Usage: make_seeds.py
"""
import io
import json
import struct
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "import" / "data"
SEEDS = HERE / "seeds"


def put(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def small_zip(names):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        for i, name in enumerate(names):
            z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), bytes([65 + i]) * (i * 7))
    return out.getvalue()


def shortened(model):
    """The graph up to its first few nodes keeps a seed small enough to be mutated well."""
    graph = model["graph_module"]["graph"]
    graph["nodes"] = graph["nodes"][:4]
    graph["outputs"] = []
    model["graph_module"]["signature"]["output_specs"] = []
    return model


def main():
    put("zip", "two", small_zip(["a/x", "a/y"]))
    put("zip", "many", small_zip([f"m/data/weights/weight_{i}" for i in range(12)]))
    for name in ("half", "nested", "branches"):
        with zipfile.ZipFile(DATA / f"{name}.pt2") as z:
            root = z.namelist()[0].split("/")[0]
            model = json.loads(z.read(f"{root}/models/model.json"))
            weights = b"{\"config\": {}}"
            if f"{root}/data/weights/model_weights_config.json" in z.namelist():
                weights = z.read(f"{root}/data/weights/model_weights_config.json")
        text = json.dumps(model).encode()
        put("pt2", name, text + b"\0" + weights)
        put("pt2", name + "_short", json.dumps(shortened(model)).encode() + b"\0" + weights)
        put("json", name, json.dumps(model["graph_module"]["signature"]).encode())
    put("zip", "archive", (DATA / "draws.pt2").read_bytes())
    put("json", "values", b'{"a": [1, -2, 3.5, 1e300, true, null, "x\\u00e9\\n"], "b": {"c": {}}}')
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
                         "b": {"dtype": "I8", "shape": [], "data_offsets": [16, 17]},
                         "__metadata__": {"format": "pt"}}).encode()
    put("safetensors", "two", struct.pack("<Q", len(header)) + header + bytes(range(17)))
    put("safetensors", "empty", struct.pack("<Q", 2) + b"{}")
    put("safetensors", "file", (DATA / "nested.safetensors").read_bytes())


if __name__ == "__main__":
    main()
