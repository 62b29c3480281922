"""Cases for monograph_acceptance: an archive, its inputs, and what PyTorch computes from them."""
import json
import struct

import torch
from torch.utils import _pytree as pytree

TYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16",
         torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
         torch.uint8: "U8", torch.bool: "BOOL", torch.complex64: "C64"}


def write_safetensors(path, tensors):
    """Writes tensors by name, dense and row-major, the data on a multiple of 64 bytes."""
    header, blocks, end = {}, [], 0
    for name, t in sorted(tensors.items()):
        dense = torch.empty(t.shape, dtype=t.dtype).copy_(t.detach())
        raw = bytes(dense.reshape(-1).view(torch.uint8).numpy()) if t.numel() else b""
        header[name] = {"dtype": TYPES[t.dtype], "shape": list(t.shape),
                        "data_offsets": [end, end + len(raw)]}
        blocks.append(raw)
        end += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blocks))


def plain(t):
    """True for tensors that a case can hold."""
    return (isinstance(t, torch.Tensor) and t.layout == torch.strided and t.dtype in TYPES
            and not t.is_quantized and t.device.type == "cpu")


def tensors_of(tree):
    return [t for t in pytree.tree_leaves(tree) if isinstance(t, torch.Tensor)]


def strides_of(tensors):
    return [list(t.stride()) for t in tensors]


def save_case(folder, name, program, sets):
    """Writes NAME.pt2 (NAME.pt of a script module), NAME.safetensors and returns NAME's line of the
    manifest.

    `sets` are (inputs, eager results, float64 results or None); the first is what the archive was
    exported with. Strides of inputs go into the manifest, since safetensors has none.
    """
    script = isinstance(program, torch.jit.ScriptModule)
    if script:
        program.save(str(folder / f"{name}.pt"))
    else:
        torch.export.save(program, folder / f"{name}.pt2")
    held = {}
    for prefix, (inputs, eager, wide) in zip(("", "again."), sets):
        held |= {f"{prefix}in_{i}": t for i, t in enumerate(inputs)}
        held |= {f"{prefix}out_{i}": t for i, t in enumerate(eager)}
        if wide is not None:
            held |= {f"{prefix}wide_{i}": t for i, t in enumerate(wide)
                     if t.dtype == torch.float64}
    write_safetensors(folder / f"{name}.safetensors", held)
    line = {"name": name, "strides": strides_of(sets[0][0]), "sets": len(sets)}
    return line | {"script": True} if script else line
