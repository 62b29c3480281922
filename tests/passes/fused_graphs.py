"""Runs the graphs in tests/passes/models under plain PyTorch, before and after the fused pipeline,
on random weights and inputs in float32, and compares outputs and final state.
Usage: fused_graphs.py PATH_OF_fused_graphs FOLDER_OF_GRAPHS"""

import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import torch

PROGRAM, GRAPHS = Path(sys.argv[1]), Path(sys.argv[2])
RELATIVE = 1e-5  # largest difference, of the largest element


def load(path):
    names = {"__name__": path.stem}
    exec(compile(path.read_text(), str(path), "exec"), names)
    return names


def weight(name, slot):
    """Norm weights around 1, caches of the size of keys, the rest small."""
    if not slot.dtype.is_floating_point:
        return torch.arange(slot.sizes[-1], dtype=slot.dtype).expand(slot.sizes).contiguous()
    scale = 0.4 if name.endswith("cache") else 0.02 if len(slot.sizes) > 1 else 0.1
    tensor = torch.randn(slot.sizes, dtype=slot.dtype) * scale
    return tensor + 1 if "norm" in name.lower() and name.endswith("weight") else tensor


def example(name, slot, trial):
    if name == "position":
        return torch.tensor([3 + 17 * trial])
    if name == "attention_mask":
        mask = torch.ones(slot.sizes, dtype=slot.dtype)
        mask[..., 100 + trial:] = 0
        return mask
    if slot.dtype.is_floating_point:
        return torch.randn(slot.sizes, dtype=slot.dtype)
    return torch.randint(0, 500, slot.sizes, dtype=slot.dtype)


class FusedGraphs(unittest.TestCase):
    def close(self, got, want, what):
        self.assertEqual((got.shape, got.dtype), (want.shape, want.dtype), what)
        self.assertTrue(torch.isfinite(want).all(), what)
        difference = (got.double() - want.double()).abs().max().item()
        self.assertLessEqual(difference, RELATIVE * want.double().abs().max().item(), what)

    def check(self, graph, folder):
        # In float32 the order of operations hardly matters, so a wrong graph can't hide.
        text = re.sub(r"\bbf16\[|\bf16\[", "f32[", graph.read_text())
        text = re.sub(r"torch\.(bfloat16|float16)", "torch.float32", text)
        (folder / "graph.txt").write_text(text)
        subprocess.run([PROGRAM, folder / "graph.txt", folder], check=True)
        before, after = load(folder / "before.py"), load(folder / "after.py")
        self.assertIn("def fusion_", (folder / "after.py").read_text())
        weights = {n: weight(n, s) for n, s in before["WEIGHTS"].items()}
        known = dict(weights)
        exec((folder / "constants.py").read_text(),
             {"torch": torch, "W": known, "device": torch.device})
        for trial in range(2):
            inputs = [example(n, s, trial) for n, s in before["INPUTS"].items()]
            runs = []
            for script, tensors in ((before, weights), (after, known)):
                own = {n: t.clone() for n, t in tensors.items()}
                runs.append((script["forward"](own, *[i.clone() for i in inputs]), own))
            (want, state), (got, other) = runs
            for i, (a, b) in enumerate(zip(got, want, strict=True)):
                self.close(a, b, f"{graph.stem}: output {i}, trial {trial}")
            for name in state:
                if name.endswith("cache"):
                    self.close(other[name], state[name], f"{graph.stem}: {name}")

    def test_models(self):
        graphs = sorted(GRAPHS.glob("*.txt"))
        self.assertGreaterEqual(len(graphs), 6)
        for graph in graphs:
            torch.manual_seed(1)
            with self.subTest(graph.stem), tempfile.TemporaryDirectory() as folder:
                with torch.inference_mode():
                    self.check(graph, Path(folder))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
