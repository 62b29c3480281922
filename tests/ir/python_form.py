"""Runs generated transformed_code.py files under plain PyTorch and compares their outputs with
answers computed here. Usage: python_form.py PATH_OF_ir_python_cases"""

import contextlib
import importlib.util
import io
import json
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import torch
from torch.nn import functional

CASES = None  # the folder with a folder per case

FILE_NAMES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16",
    torch.int32: "I32", torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float32: "F32", torch.float64: "F64", torch.complex64: "C64", torch.complex128: "C128",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}
DTYPES = {
    "bool": torch.bool, "u8": torch.uint8, "i8": torch.int8, "i16": torch.int16,
    "i32": torch.int32, "i64": torch.int64, "f16": torch.float16, "bf16": torch.bfloat16,
    "f32": torch.float32, "f64": torch.float64, "c64": torch.complex64, "c128": torch.complex128,
    "f8e4m3fn": torch.float8_e4m3fn, "f8e5m2": torch.float8_e5m2,
}  # fmt: skip


def raw(tensor):
    """The bytes of a tensor's elements, read one by one so as to share nothing with the script."""
    flat = tensor.contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).tolist()) if flat.numel() else b""


def save(path, tensors, metadata=True):
    header, data = {"__metadata__": {"format": "pt"}} if metadata else {}, b""
    for name, tensor in tensors.items():
        blob = raw(tensor)
        header[name] = {"dtype": FILE_NAMES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(blob)]}
        data += blob
    text = json.dumps(header, ensure_ascii=False).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def load(path):
    """(dtype name, shape, bytes) by name."""
    content = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    found = {name: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])])
             for name, e in header.items()}
    assert sum(len(blob) for _, _, blob in found.values()) == len(data), "gaps in the file"
    return found


def module_of(case):
    path = CASES / case / "transformed_code.py"
    spec = importlib.util.spec_from_file_location(f"case_{case}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_bits(dtype, *shape):
    size = torch.empty(0, dtype=dtype).element_size()
    if dtype == torch.bool:
        return torch.randint(0, 2, shape).bool()
    return torch.randint(0, 256, (*shape, size), dtype=torch.uint8).view(dtype).reshape(shape)


class PythonForm(unittest.TestCase):
    def check(self, file, expected):
        """Bytes of out_0... in `file` are those of `expected`."""
        found = load(file)
        self.assertEqual(list(found), [f"out_{i}" for i in range(len(expected))])
        for (dtype, shape, blob), want in zip(found.values(), expected):
            self.assertEqual(dtype, FILE_NAMES[want.dtype])
            self.assertEqual(shape, list(want.shape))
            self.assertEqual(blob, raw(want))

    def main(self, case, weights, inputs, *more):
        """`main` of the script in this process; the outputs' file."""
        folder = CASES / case
        save(folder / "weights.safetensors", weights)
        save(folder / "inputs.safetensors", inputs)
        arguments = ["--inputs", str(folder / "inputs.safetensors")] if inputs else []
        old, sys.argv = sys.argv, ["x", *arguments, "--outputs", str(folder / "out"), *more]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                module_of(case).main()
        finally:
            sys.argv = old
        return folder / "out"

    def encoder_data(self):
        weights = {"embed.weight": torch.randn(11, 8), "norm.weight": torch.randn(8),
                   "norm.bias": torch.randn(8), "fc.weight": torch.randn(8, 8)}
        mask = torch.rand(2, 5) < 0.6
        mask[:, 0] = True
        inputs = {"ids": torch.randint(0, 11, (2, 5)), "mask": mask}
        h = functional.embedding(inputs["ids"], weights["embed.weight"])
        h = functional.layer_norm(h, (8,), weights["norm.weight"], weights["norm.bias"], 1e-5)
        h = functional.linear(h, weights["fc.weight"])
        h[..., 4:] += 1.0
        left, right = h.split([3, 5], -1)
        soft = right.masked_fill(~mask.unsqueeze(1), float("-inf")).softmax(-1)
        return weights, inputs, [soft, left.half(), left, right]

    def test_encoder_from_the_command_line(self):
        weights, inputs, expected = self.encoder_data()
        folder = CASES / "encoder"
        save(folder / "weights.safetensors", weights)
        save(folder / "i.safetensors", inputs)
        command = [sys.executable, folder / "transformed_code.py", "--inputs",
                   folder / "i.safetensors", "--outputs", folder / "o"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("out_0: torch.float32 [2, 5, 5]\nout_1: torch.float16", done.stdout)
        self.check(folder / "o", expected)

    def test_inputs_by_number_and_weights_elsewhere(self):
        folder = CASES / "encoder"
        for seed in range(2):
            torch.manual_seed(seed)
            weights, inputs, expected = self.encoder_data()
            save(folder / "elsewhere", weights, metadata=False)
            numbered = {"in_1": inputs["mask"], "in_0": inputs["ids"]}
            file = self.main("encoder", {}, numbered, "--weights", str(folder / "elsewhere"),
                             "--device", "cpu")
            self.check(file, expected)

    def test_fusions(self):
        for seed in range(2):
            torch.manual_seed(seed)
            weights = {'bias \\ "ü"': torch.randn(4), "inner.scale": torch.randn(3, 4)}
            inputs = {'lambda\n"x"': torch.randn(3, 4), "weights": torch.randn(3, 4)}
            total = inputs['lambda\n"x"'] + 2.0 * inputs["weights"]
            expected = [torch.full((3, 4), 2.5) + weights['bias \\ "ü"'] - total, total > 0]
            self.check(self.main("fusions", weights, inputs), expected)

    def test_layouts(self):
        memory = torch.randn(24)
        tied = memory.view(6, 4)
        w = tied.t()  # column-major
        weights = {"w": w, "tied": tied, "part": memory[[1, 4]], "state": torch.randn(2),
                   "wide": torch.randn(3).expand(5, 3)}
        x = torch.randn(3, 4)
        window = x.t().reshape(-1)[[1, 2, 5, 6]].reshape(2, 2)
        expected = [memory, x.t().reshape(-1), window, weights["state"] + memory[[1, 4]],
                    tied @ w, weights["wide"], memory[[1, 4]]]
        self.check(self.main("layouts", weights, {"x": x}), expected)

        placed = module_of("layouts").load_weights()
        self.assertEqual(placed["w"].stride(), (1, 4))
        self.assertEqual(placed["wide"].stride(), (0, 1))
        self.assertEqual(placed["part"].storage_offset(), 1)
        for name in "tied", "part":
            self.assertEqual(placed[name].untyped_storage().data_ptr(),
                             placed["w"].untyped_storage().data_ptr())
        (placed_x,) = module_of("layouts").load_inputs(CASES / "layouts/inputs.safetensors")
        self.assertEqual((placed_x.stride(), placed_x.storage_offset()), ((1, 3), 2))
        self.assertEqual(placed_x.untyped_storage().nbytes(), 64)

    def test_every_dtype_and_empty_tensors(self):
        inputs, weights, expected = {}, {}, []
        for name, dtype in DTYPES.items():
            inputs[f"i_{name}"] = random_bits(dtype, 3, 2)
            weights[f"w_{name}"] = random_bits(dtype, 5)
            weights[f"z_{name}"] = torch.empty(2, 0, dtype=dtype)
            expected += [inputs[f"i_{name}"], weights[f"w_{name}"], weights[f"z_{name}"]]
        self.check(self.main("dtypes", weights, inputs), expected)

    def test_graph_without_tensors(self):
        self.check(self.main("constants", {}, {}), [])

    def refusal(self, content, expected):
        path = CASES / "encoder/bad"
        if isinstance(content, dict):
            save(path, content)
        else:
            path.write_bytes(content)
        with self.assertRaises(SystemExit) as caught:
            module_of("encoder").load_inputs(path)
        self.assertIn(expected, str(caught.exception))

    def test_refuses_bad_files(self):
        _, good, _ = self.encoder_data()
        header = lambda text: struct.pack("<Q", len(text)) + text
        entry = b'{"ids": {"dtype": "%s", "shape": [%s], "data_offsets": [%s]}}'
        self.refusal({"ids": good["ids"]}, "no tensor 'mask', wanted ['ids', 'mask']")
        self.refusal(good | {"ids": good["ids"].int()}, "'ids' is torch.int32 [2, 5], wanted")
        self.refusal(good | {"ids": good["ids"][:1]}, "'ids' is torch.int64 [1, 5], wanted")
        self.refusal(b"", "too short")
        self.refusal(b"1234567", "too short")
        self.refusal(struct.pack("<Q", 2**63) + b"{}", "longer than the file")
        self.refusal(header(b"{]"), "isn't JSON")
        self.refusal(header(entry % (b"Q4", b"1", b"0, 1")) + b"x", "unknown element type Q4")
        self.refusal(header(entry % (b"I64", b"1", b"0, 8")) + b"short", "doesn't fit")
        self.refusal(header(entry % (b"I64", b"2", b"0, 8")) + b"12345678", "doesn't fit")
        self.refusal(header(entry % (b"I64", b"-1, -1", b"0, 8")) + b"12345678", "doesn't fit")

    def test_wants_inputs(self):
        complaint = io.StringIO()
        with self.assertRaises(SystemExit) as caught, contextlib.redirect_stderr(complaint):
            self.main("encoder", {}, {})
        self.assertEqual(caught.exception.code, 2)
        self.assertIn("--inputs is needed", complaint.getvalue())


if __name__ == "__main__":
    program = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as folder:
        CASES = Path(folder)
        subprocess.run([program, folder], check=True)
        unittest.main(verbosity=2)
