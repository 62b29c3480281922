#include "capture/ir/python_script.h"

namespace monograph::ir {

const std::string_view kPythonImports = R"PY(import argparse
import ctypes
import json
import mmap
import struct
from pathlib import Path
from typing import NamedTuple, Optional, Tuple

import torch


class Slot(NamedTuple):
    """Where a tensor lives: equal `storage` means shared memory; device None means DEVICE."""

    dtype: torch.dtype
    sizes: Tuple[int, ...]
    strides: Tuple[int, ...]
    offset: int  # in elements
    storage: int
    nbytes: int  # of the storage
    device: Optional[torch.device] = None

)PY";

const std::string_view kPythonMain = R"PY(
DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "C128": torch.complex128,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


def read_safetensors(path):
    """Tensors of a safetensors file by name."""
    if Path(path).stat().st_size < 8:
        raise SystemExit(f"{path}: too short for a safetensors file")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        (size,) = struct.unpack("<Q", data[:8])
        if size > len(data) - 8:
            raise SystemExit(f"{path}: the header is longer than the file")
        try:
            header = json.loads(data[8 : 8 + size])
        except ValueError as error:
            raise SystemExit(f"{path}: the header isn't JSON: {error}") from error
        header.pop("__metadata__", None)
        base = 8 + size
        return {name: read_entry(path, name, entry, data, base) for name, entry in header.items()}


def read_entry(path, name, entry, data, base):
    dtype, sizes, (begin, end) = DTYPES.get(entry["dtype"]), entry["shape"], entry["data_offsets"]
    if dtype is None:
        raise SystemExit(f"{path}: {name} has the unknown element type {entry['dtype']}")
    elements = 1
    for extent in sizes:
        elements *= extent
    wanted = elements * torch.empty(0, dtype=dtype).element_size()
    inside = 0 <= begin <= end <= len(data) - base
    if min(sizes, default=0) < 0 or not inside or end - begin != wanted:
        raise SystemExit(f"{path}: {name} doesn't fit its place in the file")
    if wanted == 0:
        return torch.empty(sizes, dtype=dtype)
    return torch.frombuffer(bytearray(data[base + begin : base + end]), dtype=dtype).reshape(sizes)


def write_safetensors(path, tensors):
    names = {dtype: name for name, dtype in DTYPES.items()}
    header, blobs, at = {}, [], 0
    for name, tensor in tensors.items():
        dense = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
        size = dense.numel() * dense.element_size()
        blobs.append(ctypes.string_at(dense.data_ptr(), size) if size else b"")
        header[name] = {
            "dtype": names[dense.dtype],
            "shape": list(dense.shape),
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for blob in blobs:
            file.write(blob)


def place(values, slots, source):
    """Copies of `values` with the layout of `slots`: strides, offsets and sharing as traced."""
    storages, placed = {}, {}
    for name, slot in slots.items():
        value = values.get(name)
        if value is None:
            names = f"wanted {list(slots)}, found {list(values)}"
            raise SystemExit(f"{source}: no tensor {name!r}, {names}")
        if value.dtype != slot.dtype or tuple(value.shape) != slot.sizes:
            raise SystemExit(
                f"{source}: {name!r} is {value.dtype} {list(value.shape)}, "
                f"wanted {slot.dtype} {list(slot.sizes)}"
            )
        device = slot.device or DEVICE
        if slot.storage not in storages:
            block = torch.zeros(slot.nbytes, dtype=torch.uint8, device=device)
            storages[slot.storage] = block.untyped_storage()
        tensor = torch.empty(0, dtype=slot.dtype, device=device)
        tensor.set_(storages[slot.storage], slot.offset, slot.sizes, slot.strides)
        placed[name] = target = tensor
        for dim, (size, stride) in enumerate(zip(slot.sizes, slot.strides)):
            if stride == 0 and size > 1:  # an expanded dimension is written once
                target, value = target.narrow(dim, 0, 1), value.narrow(dim, 0, 1)
        target.copy_(value)
    return placed


def load_weights(path=None):
    """Tensors for the first argument of `forward`."""
    path = path or Path(__file__).with_name(WEIGHTS_FILE)
    return place(read_safetensors(path), WEIGHTS, path) if WEIGHTS else {}


def load_inputs(path):
    """Inputs of `forward` in order, from tensors with the names in INPUTS or in_0, in_1, ..."""
    values = read_safetensors(path)
    numbered = [f"in_{i}" for i in range(len(INPUTS))]
    if set(values) != set(INPUTS) and set(values) == set(numbered):
        values = {name: values[number] for name, number in zip(INPUTS, numbered)}
    return list(place(values, INPUTS, path).values())


def flatten(result):
    """Tensors among what `forward` returned, depth first."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, (list, tuple)):
        return [tensor for item in result for tensor in flatten(item)]
    return []


def main():
    parser = argparse.ArgumentParser(description="Runs the graph under plain PyTorch.")
    parser.add_argument("--weights", help=f"safetensors file (default: {WEIGHTS_FILE} beside this)")
    parser.add_argument("--inputs", help=f"safetensors file with {list(INPUTS)} or in_0, in_1, ...")
    parser.add_argument("--outputs", help="safetensors file to write out_0, out_1, ... to")
    parser.add_argument("--device", type=torch.device, help=f"instead of {DEVICE}, as traced")
    options = parser.parse_args()
    if options.device is not None:
        globals()["DEVICE"] = options.device
    if INPUTS and options.inputs is None:
        parser.error("this graph has inputs: --inputs is needed")
    with torch.inference_mode():
        weights = load_weights(options.weights)
        inputs = load_inputs(options.inputs) if INPUTS else []
        outputs = flatten(forward(weights, *inputs))
    named = {f"out_{i}": tensor for i, tensor in enumerate(outputs)}
    for name, tensor in named.items():
        print(f"{name}: {tensor.dtype} {list(tensor.shape)}")
    if options.outputs is not None:
        write_safetensors(options.outputs, named)


if __name__ == "__main__":
    main()
)PY";

}  // namespace monograph::ir
