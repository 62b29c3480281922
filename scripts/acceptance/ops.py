#!/usr/bin/env python3
"""Turns the samples of PyTorch's own operator tests (op_db) into cases for monograph_acceptance.

For each operator and each of its dtypes among float32, float16, bfloat16, int64 and bool, --samples
samples become one archive, spread over the list that op_db gives (which holds broadcasting,
zero-size and scalar cases), every fourth made non-contiguous. Where that list is too short, op_db's
reference inputs come on top, and then the list again with other values. A second set of inputs of
the same shapes is drawn with another seed. Operators that answer differently when asked twice
are listed as random and left out. Chunks that are there already aren't made again.

Operators of which some calls draw random numbers, write an input or read values get an archive for
each sample, so that one refused call doesn't hide the others.

Usage: ops.py FOLDER [--dtypes LIST] [--samples N] [--part I/N] [--only REGEX] [--chunk N]
              [--chunks N]
"""
import argparse
import json
import logging
import random
import re
import sys
import time
import warnings
from pathlib import Path

import numpy
import torch
from torch.utils import _pytree as pytree

sys.path.insert(0, str(Path(__file__).parent))
import files  # noqa: E402

# Their results hold whatever the memory held before.
UNDEFINED = {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty",
             "new_empty_strided"}
# Refused or not, depending on the arguments.
MIXED = {"_batch_norm_with_update", "_native_batch_norm_legit", "linalg.matrix_power",
         "native_batch_norm", "nn.functional.batch_norm", "nn.functional.dropout",
         "nn.functional.dropout2d", "nn.functional.dropout3d", "nn.functional.embedding",
         "nn.functional.embedding_bag", "nn.functional.instance_norm",
         "nn.functional.multi_head_attention_forward", "nn.functional.rrelu",
         "nn.functional.alpha_dropout", "nn.functional.scaled_dot_product_attention",
         "repeat_interleave", "tensor_split"}
LARGEST = 4096  # elements of a reference input; op_db has some of a million
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
          "int64": torch.int64, "bool": torch.bool}


class Calls(torch.nn.Module):
    """Several calls of one operator; its inputs are the tensors among their arguments, flat."""
    def __init__(self, op, samples):
        super().__init__()
        self.op = op
        self.trees = [pytree.tree_flatten((s.input, s.args, s.kwargs)) for s in samples]

    def inputs(self):
        return [v for leaves, _ in self.trees for v in leaves if isinstance(v, torch.Tensor)]

    def forward(self, *tensors):
        given = iter(tensors)
        results = []
        for leaves, spec in self.trees:
            filled = [next(given) if isinstance(v, torch.Tensor) else v for v in leaves]
            value, args, kwargs = pytree.tree_unflatten(filled, spec)
            results += files.tensors_of(self.op(value, *args, **kwargs))
        return results


def constants(sample):
    leaves, spec = pytree.tree_flatten((sample.input, sample.args, sample.kwargs))
    shapes = [(tuple(v.shape), v.dtype) if isinstance(v, torch.Tensor) else repr(v) for v in leaves]
    return shapes, str(spec)


def draw(op, dtype, seed, inputs="sample_inputs"):
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    return list(getattr(op, inputs)("cpu", dtype, requires_grad=False))


def drawn(op, dtype, count, seed):
    """The operator's samples, with as many more as `count` asks for; how many are its own."""
    own = draw(op, dtype, seed)
    more = []
    if own and len(own) < count:
        try:
            more = [s for s in draw(op, dtype, seed, "reference_inputs") if small(s)]
        except Exception:  # not all operators have them for all dtypes
            more = []
        for again in range(count // len(own)):
            more += draw(op, dtype, seed + 100 * (again + 1))
    return own + more, len(own)


def tensors(sample):
    return files.tensors_of((sample.input, sample.args, sample.kwargs))


def small(sample):
    return all(t.numel() <= LARGEST for t in tensors(sample))


def spread(indices, count):
    if len(indices) <= count:
        return list(indices)
    if count < 2:
        return list(indices[:count])
    return sorted({indices[round(i * (len(indices) - 1) / (count - 1))] for i in range(count)})


def pick(samples, own, count):
    """Indices of up to `count` samples: of the first `own` as many as may be, of all spread evenly,
    always with a zero-size sample if there is one."""
    chosen = spread(range(own), count)
    chosen += spread(range(own, len(samples)), count - len(chosen))
    empty = [i for i, s in enumerate(samples) if any(t.numel() == 0 for t in tensors(s))]
    if empty and not set(empty) & set(chosen):
        chosen[-1 if own < len(samples) else len(chosen) // 2] = empty[0]
    return sorted(set(chosen))


def usable(sample):
    return all(files.plain(t) for t in tensors(sample))


def takes(op, sample):
    """Whether the operator runs on the sample, which it may write."""
    try:
        with torch.no_grad():
            op.op(sample.input, *sample.args, **sample.kwargs)
        return True
    except Exception:  # view_as_complex, say, which wants its last dimension dense
        return False


def copied(t):
    """A copy with the same strides; kernels may be less exact on strided inputs."""
    if t.is_contiguous() or not files.plain(t):
        return t.clone(memory_format=torch.preserve_format)
    laid = torch.empty_strided(t.shape, t.stride(), dtype=t.dtype)
    target, source = laid, t
    for d, stride in enumerate(t.stride()):
        if stride == 0 and t.shape[d] > 1:
            target, source = target.narrow(d, 0, 1), source.narrow(d, 0, 1)
    try:
        target.copy_(source)
    except RuntimeError:  # elements that overlap in other ways
        return t.clone(memory_format=torch.preserve_format)
    return laid


def clone(tree):
    return pytree.tree_map(lambda t: copied(t) if isinstance(t, torch.Tensor) else t, tree)


def eager(calls, inputs):
    with torch.no_grad():
        return [t.clone() for t in calls(*[clone(t) for t in inputs])]


def wide(calls, inputs):
    """float64 results, or None where the operator has none."""
    try:
        raised = [t.double() if t.is_floating_point() else t for t in inputs]
        return eager(calls, raised)
    except Exception:  # an operator that takes no float64, or wants two arguments of one dtype
        return None


def samples_of(op, dtype, count):
    (first, own), (second, _) = drawn(op, dtype, count, 11), drawn(op, dtype, count, 12)
    fit = [i for i, sample in enumerate(first) if usable(sample)]
    chosen = pick([first[i] for i in fit], sum(i < own for i in fit), count)
    pairs = []
    for place, i in enumerate(fit[c] for c in chosen):
        a = first[i]
        b = second[i] if i < len(second) and constants(second[i]) == constants(a) else a
        # as_strided reads what lies between the elements, which a case doesn't hold.
        if place % 4 == 3 and "as_strided" not in op.name and takes(op, a.noncontiguous()):
            a, b = a.noncontiguous(), b.noncontiguous()
        pairs.append((a, b))
    return pairs


def make(op, pairs, folder, name):
    """One case of `pairs`; its line of the manifest, or why there is none."""
    calls, again = Calls(op.op, [a for a, _ in pairs]), Calls(op.op, [b for _, b in pairs])
    given, other = calls.inputs(), again.inputs()
    torch.manual_seed(1)
    known = eager(calls, given)
    torch.manual_seed(2)
    twice = eager(calls, given)
    if not known:
        return {"name": name, "skip": "no tensor among its results"}
    odd = [t for t in known if not files.plain(t)]
    if odd:
        return {"name": name, "skip": f"results that are {odd[0].layout} of {odd[0].dtype}"}
    if not all(torch.equal(a.nan_to_num() if a.is_floating_point() else a,
                           b.nan_to_num() if b.is_floating_point() else b)
               for a, b in zip(known, twice)):
        return {"name": name, "skip": "random"}
    with torch.no_grad():
        program = torch.export.export(calls.eval(), tuple(clone(given)), strict=False)
    sets = [(given, known, wide(calls, given)), (other, eager(calls, other), wide(calls, other))]
    return files.save_case(folder, name, program, sets)


def attempt(op, pairs, folder, name):
    """A case of all samples, or one of each where they can't be exported together."""
    if op.name in MIXED and len(pairs) > 1:
        for i, pair in enumerate(pairs):
            yield from attempt(op, [pair], folder, f"{name}__{i}")
        return
    try:
        yield make(op, pairs, folder, name)
        return
    except Exception as error:  # whatever export has to say
        reason = f"{type(error).__name__}: {str(error).strip()}".split("\n")[0][:200]
    if len(pairs) == 1:
        yield {"name": name, "skip": "export: " + reason}
        return
    for i, pair in enumerate(pairs):
        yield from attempt(op, [pair], folder, f"{name}__{i}")


def cases(op, dtypes, count, folder):
    label = op.name.replace(".", "_") + ("_" + op.variant_test_name if op.variant_test_name else "")
    for short, dtype in dtypes.items():
        if dtype not in op.supported_dtypes("cpu"):
            continue
        known = {"name": f"{label}__{short}", "op": label, "dtype": short}
        if op.name in UNDEFINED:
            yield known | {"skip": "undefined contents"}
            continue
        try:
            pairs = samples_of(op, dtype, count)
        except Exception as error:
            yield known | {"skip": "samples: " + str(error).split("\n")[0][:200]}
            continue
        if not pairs:
            yield known | {"skip": "arguments that are no dense tensors"}
            continue
        for line in attempt(op, pairs, folder, f"{label}__{short}"):
            yield line | {"op": label, "dtype": short, "samples": len(pairs)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--part", default="0/1", help="every N-th operator, from the I-th")
    parser.add_argument("--only", default="", help="operators whose name matches")
    parser.add_argument("--chunk", type=int, default=20, help="operators in one folder")
    parser.add_argument("--chunks", type=int, default=0, help="stop after making N folders")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    from torch.testing._internal.common_methods_invocations import op_db
    part, parts = map(int, args.part.split("/"))
    chosen = [op for op in op_db if re.search(args.only, op.name)][part::parts]
    dtypes = {d: DTYPES[d] for d in args.dtypes.split(",")}
    started = time.time()
    made = 0
    for first in range(0, len(chosen), args.chunk):
        folder = args.folder / f"{'-'.join(dtypes)}_{part}of{parts}_{first:04d}"
        manifest = folder / "manifest.jsonl"
        if manifest.exists():
            continue
        if args.chunks and made == args.chunks:
            return 3  # there is more to make
        made += 1
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for op in chosen[first:first + args.chunk]:
            lines += list(cases(op, dtypes, args.samples, folder))
            done = min(first + args.chunk, len(chosen))
            print(f"\r{done}/{len(chosen)} operators, {time.time() - started:.0f} s  {op.name:<40.40}",
                  end="", file=sys.stderr)
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
