#!/usr/bin/env python3
"""Makes the archives in tests/import/data: small models, exported by PyTorch itself.

Each NAME.pt2 comes with NAME.safetensors: inputs "in_0".., results "out_0".. of eager PyTorch, and
the same for a second set of inputs, "again.in_0".., "again.out_0".. .

Those called NAME_2_15 are NAME as PyTorch 2.15 writes it; the others are from 2.11.

Usage: make_archives.py [FOLDER [NAME]]
"""
import sys
import zipfile
from pathlib import Path
from typing import List

import torch
from torch import nn
from torch.export import Dim, export
from torch.utils import _pytree as pytree

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "acceptance"))
from files import write_safetensors  # noqa: E402
from torch._export.serde import serialize  # noqa: E402


def without_folders(original):
    """Stack traces say where on the maker's machine a file lay; here they begin with "torch/"."""
    def serialize_metadata(self, node):
        metadata = original(self, node)
        site = str(Path(torch.__file__).parents[1]) + "/"
        here = str(Path(__file__).resolve().parent) + "/"
        return {k: v.replace(site, "").replace(here, "") for k, v in metadata.items()}
    return serialize_metadata


serialize.GraphModuleSerializer.serialize_metadata = without_folders(
    serialize.GraphModuleSerializer.serialize_metadata)


class Nested(nn.Module):
    """Parameters, both kinds of buffers, a constant, a lifted scalar, nested arguments."""
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 8), nn.GELU())
        self.register_buffer("kept", torch.randn(8))
        self.register_buffer("derived", torch.randn(8), persistent=False)
        self.constant = torch.randn(8)

    def forward(self, x, extra, scale=2.0):
        y = self.inner(x) + self.kept * self.derived + self.constant
        y.add_(1.0)
        z = torch.zeros(y.shape[0], 3, device=x.device) + torch.tensor(scale)
        return {"y": y.relu(), "rest": (z + extra["q"], None, y.shape[0])}


class Shared(nn.Module):
    """One storage under two parameters, and a transposed weight."""
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 6)
        self.head = nn.Linear(6, 10, bias=False)
        self.head.weight = self.embedding.weight
        self.turned = nn.Parameter(torch.randn(6, 5).t())

    def forward(self, ids):
        x = self.embedding(ids)
        return self.head(x), torch.nn.functional.linear(x, self.turned)


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        y = torch.relu_(self.norm(self.conv(x)))
        a, b = torch.nn.functional.max_pool2d(y, 2).chunk(2, dim=1)
        return torch.cat([a, b * 2], 1).flatten(1)


class Attention(nn.Module):
    """Dynamic batch and length, sizes computed from them, dropout in eval mode."""
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(16, 48)
        self.drop = nn.Dropout(0.5)

    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.project(x).view(b, t, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])
        pool = torch.cat([y.transpose(1, 2).reshape(b, t, c), x[:, : t - 1]], 1)
        return self.drop(pool), x.new_zeros(b * t + 1), torch.arange(t)


class Half(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.layer = nn.Linear(8, 8).to(dtype)

    def forward(self, x):
        with torch.no_grad():
            y = self.layer(x)
        return y.float().softmax(-1).to(y.dtype)


class Wide(nn.Module):
    """Products with weights that are large enough for an import to leave them out, of every kind."""
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(256, 256)
        self.bare = nn.Linear(256, 320, bias=False)
        w = lambda *sizes: nn.Parameter(torch.randint(-8, 9, sizes) / 64.0)
        self.linear.weight, self.bare.weight = w(256, 256), w(320, 256)
        self.square, self.batch = w(256, 256), w(4, 128, 128)

    def forward(self, x):
        y = self.linear(x)
        z = x.flatten(0, 1)
        b = z[:, :128].expand(4, -1, -1)
        return (self.bare(y), z @ self.square, z.mm(self.square.t()),
                torch.addmm(y[0, 0], z, self.square, beta=0.5), b @ self.batch,
                torch.baddbmm(b[:, :, :1], b, self.batch.transpose(1, 2)), self.linear(x[0, 0]),
                self.square @ x[0, 0], self.square.t() @ z.t())


class Scripted(nn.Module):
    """TorchScript: a loop, a branch on shapes, a nested result."""
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(3)])
        self.register_buffer("scale", torch.rand(6))

    def forward(self, x, y):
        for layer in self.layers:
            x = torch.relu(layer(x)) + y
        if x.shape[0] > 2:
            x = x * self.scale
        return {"sum": x.sum(1), "parts": [x, x - y]}


class Keeps(nn.Module):
    """TorchScript that keeps its last result."""
    def __init__(self):
        super().__init__()
        self.last = torch.zeros(3)

    def forward(self, x):
        self.last = self.last * 0.5 + x
        return self.last + 0


class Counts(nn.Module):
    """TorchScript that counts its calls, and lists what it was given."""
    def __init__(self):
        super().__init__()
        self.calls: int = 0
        self.sizes: List[int] = [0]

    def forward(self, x):
        self.calls += 1
        return x * self.calls


class Lists(Counts):
    def forward(self, x):
        self.sizes.append(x.shape[0])
        return x * len(self.sizes)


class WritesBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(3))

    def forward(self, x):
        self.count.add_(1)
        return x + self.count


class Cache(nn.Module):
    """One step of a decoder: attention to all steps so far, whose keys and values it keeps."""
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(8, 24)
        self.register_buffer("keys", torch.zeros(1, 2, 6, 4))
        self.register_buffer("values", torch.zeros(1, 2, 6, 4))

    def forward(self, x, position):
        q, k, v = self.project(x).view(1, 1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        self.keys.index_copy_(2, position, k)
        self.values.index_copy_(2, position, v)
        mask = torch.arange(6) <= position
        y = torch.nn.functional.scaled_dot_product_attention(q, self.keys, self.values,
                                                             attn_mask=mask[None, None, None])
        return y.transpose(1, 2).reshape(1, 1, 8)


class WritesInput(nn.Module):
    def forward(self, x):
        return x.mul_(2) + 1


class Branches(nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda v: v + 1, lambda v: v - 1, (x,))


class Reads(nn.Module):
    def forward(self, x):
        n = x.sum().int().item()
        torch._check(n >= 0)
        torch._check(n <= 5)
        return torch.zeros(n)


class Draws(nn.Module):
    def forward(self, x):
        return x + torch.randn(3)


def models():
    torch.manual_seed(7)
    f = torch.randn
    n = Dim("n", min=2, max=9)
    yield "nested", Nested(), lambda s: (f(s, 4), {"q": f(3)}, 2.0), 5, 3, ({0: n}, {"q": None}, None)
    ids = lambda s: (torch.randint(0, 10, (2, s)),)
    yield "shared", Shared(), ids, 4, 4, None
    yield "conv", Conv(), lambda s: (f(2, 3, 8, 8),), 0, 0, None
    b, t = Dim("b", min=2, max=8), Dim("t", min=4, max=32)
    yield ("attention", Attention(), lambda s: (f(s, 6, 16), torch.rand(s, 6, 6) > 0.2), 2, 3,
           ({0: b, 1: t}, {0: b, 1: t, 2: t}))
    yield "half", Half(torch.float16), lambda s: (f(3, 8).half(),), 0, 0, None
    grid = lambda s: (torch.randint(-8, 9, (2, 3, 256)) / 8.0,)  # exact in any order of summation
    yield "wide", Wide(), grid, 0, 0, None
    yield "bfloat", Half(torch.bfloat16), lambda s: (f(3, 8).bfloat16(),), 0, 0, None


def refused():
    x = torch.rand(3)
    yield "writes_buffer", WritesBuffer(), (x,), False
    yield "writes_buffer_functional", WritesBuffer(), (x,), True
    yield "writes_input_functional", WritesInput(), (x,), True
    yield "writes_input", WritesInput(), (x,), False
    yield "branches", Branches(), (x,), False
    yield "reads", Reads(), (x,), False
    yield "draws", Draws(), (x,), False


def without_sources(path):
    """TorchScript's debug entries hold the maker's folders; the code itself doesn't need them."""
    with zipfile.ZipFile(path) as old:
        entries = [(info, old.read(info)) for info in old.infolist()
                   if not info.filename.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w") as new:
        for info, data in entries:
            new.writestr(zipfile.ZipInfo(info.filename, (1980, 1, 1, 0, 0, 0)), data)


def tensors(prefix, tree):
    leaves = [t for t in pytree.tree_leaves(tree) if isinstance(t, torch.Tensor)]
    return {f"{prefix}_{i}": t for i, t in enumerate(leaves)}


def caches(folder):
    """Cache as it is and with its writes in the signature; four steps of eager PyTorch."""
    torch.manual_seed(11)
    model = Cache().eval()
    steps = [(torch.randn(1, 1, 8), torch.tensor([i])) for i in range(4)]
    program = export(model, steps[0])
    torch.export.save(program, folder / "cache.pt2")
    torch.export.save(program.run_decompositions(), folder / "cache_functional.pt2")
    known = {}
    with torch.no_grad():
        for i, step in enumerate(steps):
            known |= {f"step{i}." + k: v for k, v in tensors("in", step).items()}
            known |= {f"step{i}." + k: v for k, v in tensors("out", model(*step)).items()}
    write_safetensors(folder / "cache.safetensors", known)


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "data")
    only = sys.argv[2] if len(sys.argv) > 2 else None
    for name, model, make, first, second, shapes in models():
        if only not in (None, name):
            continue
        model.eval()
        args, other = make(first), make(second)
        program = export(model, args, dynamic_shapes=shapes)
        torch.export.save(program, folder / f"{name}.pt2")
        known = {}
        with torch.no_grad():
            for prefix, given in (("", args), ("again.", other)):
                known |= {prefix + k: v for k, v in tensors("in", given).items()}
                known |= {prefix + k: v for k, v in tensors("out", model(*given)).items()}
        write_safetensors(folder / f"{name}.safetensors", known)
    for name, module in (("keeps", Keeps), ("counts", Counts), ("lists", Lists)):
        if only in (None, "scripts"):
            torch.jit.script(module().eval()).save(str(folder / f"script_{name}.pt"))
            without_sources(folder / f"script_{name}.pt")
    if only in (None, "cache"):
        caches(folder)
    if only:
        return
    torch.manual_seed(9)
    scripted, args = torch.jit.script(Scripted().eval()), (torch.randn(4, 6), torch.randn(4, 6))
    scripted.save(str(folder / "scripted.pt"))
    without_sources(folder / "scripted.pt")
    with torch.no_grad():
        write_safetensors(folder / "scripted.safetensors",
                          tensors("in", args) | tensors("out", scripted(*args)))
    for name, model, args, functional in refused():
        program = export(model.eval(), args)
        if functional:
            program = program.run_decompositions()
        torch.export.save(program, folder / f"{name}.pt2")


if __name__ == "__main__":
    main()
