#!/usr/bin/env python3
"""Runs the command `monograph` as people do, and checks exit codes, messages, JSON and files.

Usage: command_test.py MONOGRAPH --data tests/import/data --plugin LIBRARY
       command_test.py MONOGRAPH --virtual [--recorder LIBRARY]
"""
import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

failures = []
passed = 0


def check(what, condition, detail=""):
    global passed
    if condition:
        passed += 1
    else:
        failures.append(f"{what} {detail}")


class Command:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def __call__(self, *arguments, **environment):
        done = subprocess.run([self.program, *map(str, arguments)], cwd=self.folder, text=True,
                              capture_output=True, timeout=300, env={**os.environ, **environment})
        self.out, self.err = done.stdout, done.stderr
        return done.returncode

    def expect(self, code, *arguments, out="", err="", **environment):
        got = self(*arguments, **environment)
        line = "monograph " + " ".join(map(str, arguments))
        check(line, got == code, f"exited with {got}, not {code}: {self.err[-300:]}{self.out[-200:]}")
        for text, where, name in ((out, self.out, "output"), (err, self.err, "errors")):
            for part in [text] if isinstance(text, str) else text:
                check(line, part in where, f"{name} lacks {part!r}: {where[-400:]}")

    def report(self, code, *arguments):
        """The JSON of a run that must end with `code`."""
        self.expect(code, *arguments, "--json", "-")
        try:
            return json.loads(self.out)
        except ValueError:
            check(" ".join(map(str, arguments)), False, f"wrote no JSON: {self.out[:200]}")
            return {}


def write_npy(path, shape, values):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
                     + struct.pack(f"<{len(values)}f", *values))


def read_safetensors(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (e["dtype"], e["shape"], data[8 + size:][slice(*e["data_offsets"])])
            for name, e in header.items()}


def check_words(command):
    commands = ("run", "inspect", "verify", "bench", "profile", "minify", "models", "completion")
    command.expect(0, "--help", out=(*commands, "Exit codes", "Example"))
    command.expect(0, "--version", out="monograph 0.")
    for name in commands:
        command.expect(0, name, "--help", out=(f"monograph {name}", "Examples:", "Exit codes"))
    command.expect(2, err="commands are run inspect verify")
    command.expect(2, "walk", err=("walk", "commands are run inspect"))
    command.expect(2, "run", "mlp", "--sped", "3", err=("--sped", "--seed", "--int-range"))
    command.expect(2, "run", err="MODEL")
    command.expect(2, "run", "mlp", "--device", "tpu", err=("host", "virtual"))
    command.expect(2, "run", "mlp", "--dtype", "f8", err=("f32", "bf16"))
    command.expect(2, "run", "mlp", "--int-range", "x=3:3", err="empty")
    command.expect(2, "run", "mlp", "--shape", "x=3x-1", err="negative")
    command.expect(2, "run", "mlp", "--device", "host", "--passes", "dead_code,nonsense",
                   err=("nonsense", "constant_folding"))
    command.expect(0, "models", out=("llama-3.2-1b", "vit-b16", "dlrm"))
    for shell in ("bash", "zsh"):
        command.expect(0, "completion", shell, out=("--int-range", "minilm"))
    script = command.folder / "complete.sh"
    script.write_text(subprocess.run([command.program, "completion"], capture_output=True,
                                     text=True).stdout +
                      "COMP_WORDS=(monograph verify --bi); COMP_CWORD=2; _monograph\n"
                      'echo "${COMPREPLY[@]}"\n')
    done = subprocess.run(["bash", script], capture_output=True, text=True)
    check("completion", done.stdout.strip() == "--bisect", done.stdout + done.stderr)


def check_models_that_are_not_there(command, data):
    command.expect(4, "inspect", "gpt-5", err=("gpt-5", "llama-3.2-1b", "resnet50"))
    command.expect(2, "bench", "gpt-5", err=("gpt-5", "llama-3.2-1b", "resnet50"))
    command.expect(2, "bench", "mlp", "--peers", "tvm", err=("tvm", "eager", "onnxruntime"))
    command.expect(2, "bench", "mlp", "--dtype", "int4", err="bf16")
    command.expect(2, "bench", err="name a model")
    command.expect(2, "bench", "mlp", "--passes", "dead_code,nonsense", err=("nonsense", "constant_folding"))
    command.expect(2, "bench", "mlp", "--length", "-3", err="--length")
    command.expect(2, "bench", "mlp", "--option", "cuda.gate", err=("cuda.gate", "NAME=VALUE"))
    # Refused before anything is measured, which would take until long after the time-out.
    command.expect(1, "bench", "mlp", "--json", "/proc/none.json", "--rounds", "100000", "--seconds", "1000000",
                   "--device", "host", err="/proc/none.json")
    broken = command.folder / "broken.pt2"
    broken.write_bytes((data / "conv.pt2").read_bytes()[:4000])
    command.expect(1, "run", broken, "--device", "host", err="broken.pt2")
    result = command.folder / "result.json"
    result.write_text('{"format": 1, "models": ')
    command.expect(1, "bench", "compare", result, result, err="result.json")
    command.expect(1, "bench", "render", result, err="result.json")
    if not pathlib.Path("/dev/nvidia0").exists():
        command.expect(4, "run", "mlp", "--device", "cuda", err="cuda")


def check_inspect(command, data):
    report = command.report(0, "inspect", data / "attention.pt2", "--device", "host")
    for key in ("status", "reason", "nodes", "launches", "library_calls", "own_kernels",
                "aten_fallbacks", "predicted_us", "bytes", "flops", "refusals", "memory", "ops",
                "inputs", "outputs", "launch_list", "max_abs_diff"):
        check("inspect --json", key in report, f"lacks {key}")
    check("inspect", report.get("status") == "ok" and report.get("launches", 0) > 0)
    kinds = report["library_calls"] + report["own_kernels"] + report["aten_fallbacks"]
    check("inspect", kinds == report["launches"] == len(report["launch_list"]), "doesn't add up")
    check("inspect", report["memory"]["weights"] > 0 and report["memory"]["arena"] >= 0)
    command.expect(0, "inspect", data / "attention.pt2", "--device", "host", "--launches",
                   out=("in_0", "operators", "launches", "aten."))
    refused = command.report(3, "inspect", data / "writes_buffer.pt2", "--device", "host")
    check("inspect", refused["status"] == "refused" and refused["refusals"][0]["reason"]
          and refused["code"].startswith("Rejected"), str(refused)[:300])
    # Its weights would take 16 GB: looking at it takes none.
    large = command.report(0, "inspect", "llama-3.1-8b", "--dtype", "bf16", "--layers", "3",
                           "--length", "128", "--device", "host")
    check("inspect llama-3.1-8b", large["memory"]["weights"] > 1e9, str(large["memory"]))
    check("inspect llama-3.1-8b", large["memory"]["state"] == 3 * 2 * 8 * 128 * 128 * 2)


def check_run(command, data):
    folder = command.folder
    command.expect(0, "run", data / "conv.pt2", "--input", data / "conv.safetensors", "--output",
                   folder / "out.safetensors", "--compare", data / "conv.safetensors", "--device",
                   "host", out=("out_0", "ok"))
    outputs = read_safetensors(folder / "out.safetensors")
    check("run --output", set(outputs) == {"out_0"} or "out_0" in outputs, str(set(outputs)))
    # Results that differ fail, and say where.
    name, (dtype, shape, values) = next(iter(sorted(outputs.items())))
    header = json.dumps({name: {"dtype": dtype, "shape": shape, "data_offsets": [0, len(values)]}})
    header += " " * (-len(header) % 8)
    other = bytearray(values)
    other[-4:] = struct.pack("<f", 12345.0)
    (folder / "other.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode()
                                               + bytes(other))
    report = command.report(1, "run", data / "conv.pt2", "--input", data / "conv.safetensors",
                            "--compare", folder / "other.safetensors", "--device", "host")
    check("run --compare", report["status"] == "failed" and "out_0: 1 of" in report["reason"]
          and report["max_abs_diff"] > 10000, report["reason"])
    # The same by package, with inputs from NumPy.
    command.expect(0, "run", "mlp", "--layers", "2", "--save", folder / "mlp.mono", "--device",
                   "host")
    write_npy(folder / "x.npy", (1, 512), [i % 7 - 3.0 for i in range(512)])
    command.expect(0, "run", folder / "mlp.mono", "--input", "x=x.npy", "--output",
                   folder / "one.safetensors", "--device", "host")
    command.expect(0, "run", "mlp", "--layers", "2", "--input", "in_0=x.npy", "--compare",
                   folder / "one.safetensors", "--repeat", "5", "--device", "host")
    command.expect(1, "run", folder / "mlp.mono", "--input", "y=x.npy", err="'y'")
    (folder / "x.npy").write_bytes(b"\x93NUMPY\x01\x00")
    command.expect(1, "run", folder / "mlp.mono", "--input", "x=x.npy", err="x.npy")
    command.expect(1, "run", folder / "mlp.mono", "--json", "/nowhere/at/all.json", err="/nowhere")
    # Another seed, other inputs.
    a = command.report(0, "run", folder / "mlp.mono", "--compare", folder / "one.safetensors",
                       "--atol", "1e9", "--seed", "1", "--device", "host")
    b = command.report(0, "run", folder / "mlp.mono", "--compare", folder / "one.safetensors",
                       "--atol", "1e9", "--seed", "2", "--device", "host")
    check("--seed", a["max_abs_diff"] != b["max_abs_diff"] and a["max_abs_diff"] > 0)


def check_verify(command, data, plugin):
    command.expect(0, "verify", data / "nested.pt2", "--device", "host", out="calls compared")
    command.expect(0, "verify", "llama-3.2-1b", "--layers", "1", "--length", "16", "--device",
                   "host", out="calls compared")
    command.expect(0, "verify", "minilm", "--layers", "1", "--dtype", "bf16", "--device", "host")
    passes = "dead_code,canonical_linear,fast_gelu,materialize_outputs"
    wrong = ("minilm", "--layers", "2", "--device", "host", "--passes", passes, "--plugin", plugin,
             "--atol", "1e-6", "--rtol", "1e-5")
    command.expect(1, "verify", *wrong, err="first call: out_0")
    report = command.report(1, "verify", *wrong, "--bisect", "--reproducer", "wrong")
    found = report["bisect"]
    check("verify --bisect", found["where"] == "pass" and found["pass"] == "fast_gelu", str(found))
    check("verify --bisect", found.get("calls_left") == 1 and found["calls"] > 20, str(found))
    check("verify --bisect", "aten.gelu" in (command.folder / "wrong" / "graph.txt").read_text())
    # The reproducer runs, agrees without the pass and not with it, and is as small as can be.
    command.expect(0, "run", "wrong", "--device", "host", out="largest difference")
    command.expect(0, "verify", "wrong/graph.txt", "--device", "host")
    command.expect(1, "run", "wrong", "--device", "host", "--passes", "fast_gelu,materialize_outputs",
                   "--plugin", plugin, err="out_0")
    again = command.report(1, "minify", "wrong", "--device", "host", "--passes",
                           "fast_gelu,materialize_outputs", "--plugin", plugin)
    check("minify", again["bisect"].get("calls_left") == 1 and again["bisect"].get("folder") == "./minified",
          str(again["bisect"]))
    command.expect(0, "verify", "mlp", "--layers", "1", "--device", "host", "--bisect",
                   out="agree with forward")
    command.expect(1, "run", "mlp", "--plugin", "nowhere.so", err="nowhere.so")


def check_profile_and_dump(command):
    report = command.report(0, "profile", "mlp", "--layers", "3", "--runs", "5", "--trace",
                            "trace.json", "--dump", "dumps", "--device", "host")
    check("profile", len(report["profile"]["nodes"]) == report["launches"], str(report["launches"]))
    trace = json.loads((command.folder / "trace.json").read_text())
    spans = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    check("profile --trace", len(spans) >= report["launches"])
    pages = list(command.folder.glob("dumps/*/index.html"))
    check("profile --dump", len(pages) == 1, str(pages))
    dumped = json.loads((pages[0].parent / "dump.json").read_text())
    check("profile --dump", any("measured_us" in n for n in dumped["nodes"]))
    command.expect(0, "run", "mlp", "--layers", "1", "--dump", "/proc/nowhere", "--device", "host",
                   err="warning: no dump of 'mlp'")
    check("a dump that fails", command.err.count("\n") == 1, command.err)
    command.expect(0, "profile", "mlp", "--layers", "3", "--runs", "3", "--top", "1", "--device",
                   "host", out=("vs best", "more"))
    command.expect(1, "profile", "mlp", "--layers", "1", "--trace", "/nowhere/t.json", "--device",
                   "host", err="/nowhere/t.json")


def check_bench(command):
    command.expect(0, "bench", "mlp", "--layers", "2", "--peers", "eager,self", "--rounds", "60",
                   "--round-ms", "1", "--device", "host", "--json", "a.json", "--csv", "a.csv",
                   out=("| monograph |", "| eager |", "float64"))
    result = json.loads((command.folder / "a.json").read_text())
    check("bench", result["command"].startswith("monograph bench mlp --layers 2"))
    check("bench", "clocks" in result and len(result["models"][0]["contenders"]) == 3)
    check("bench --csv", len((command.folder / "a.csv").read_text().splitlines()) == 4)
    command.expect(0, "bench", "compare", "a.json", "a.json", out="no difference beyond noise")
    command.expect(0, "bench", "render", "a.json", out="| self |")
    for contender in result["models"][0]["contenders"]:
        if contender["name"] == "monograph":
            contender["wall_us"]["rounds"] = [20 * t for t in contender["wall_us"]["rounds"]]
    (command.folder / "b.json").write_text(json.dumps(result))
    command.expect(1, "bench", "compare", "a.json", "b.json", out="slower")


def check_virtual(command, recorder):
    report = command.report(0, "inspect", "mlp", "--device", "virtual")
    check("inspect mlp", report["aten_fallbacks"] == 0 and report["own_kernels"] > 0, str(report)[:200])
    report = command.report(0, "inspect", "llama-3.2-1b", "--dtype", "bf16", "--device", "virtual")
    check("inspect llama-3.2-1b", report["aten_fallbacks"] == 0, str(report["fallbacks"]))
    check("inspect llama-3.2-1b", report["launches"] <= 100, str(report["launches"]))
    check("inspect llama-3.2-1b", 2.2e9 < report["memory"]["weights"] < 3.5e9,
          str(report["memory"]))
    command.expect(0, "verify", "mlp", "--layers", "2", "--device", "virtual", out="calls compared")
    command.expect(0, "profile", "mlp", "--layers", "2", "--runs", "2", "--device", "virtual")
    command.expect(0, "profile", "mlp", "--layers", "2", "--runs", "2", "--device", "virtual",
                   "--whole-graph", out="whole graph")
    if recorder:
        # A profiler sees a range for each node that goes into the graph.
        report = command.report(0, "inspect", "mlp", "--layers", "2", "--device", "virtual")
        command.expect(0, "profile", "mlp", "--layers", "2", "--runs", "2", "--device", "virtual",
                       "--whole-graph", NVTX_INJECTION64_PATH=recorder, RANGES_FILE="ranges.txt")
        ranges = (command.folder / "ranges.txt").read_text().split()
        for launch in report["launch_list"]:
            check("NVTX range", launch["node"] in ranges, f"{launch['node']} not in {ranges}")


def report():
    for failure in failures:
        print("FAILED:", failure)
    print(f"{passed} checks passed, {len(failures)} failed")
    return 1 if failures or passed == 0 else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--data", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--plugin")
    parser.add_argument("--virtual", action="store_true")
    parser.add_argument("--recorder", help="profiler's library that notes NVTX ranges")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = Command(str(pathlib.Path(arguments.program).resolve()), pathlib.Path(folder))
        if arguments.virtual:
            check_virtual(command, arguments.recorder)
        else:
            check_words(command)
            check_models_that_are_not_there(command, arguments.data)
            check_inspect(command, arguments.data)
            check_run(command, arguments.data)
            check_verify(command, arguments.data, arguments.plugin)
            check_profile_and_dump(command)
            check_bench(command)
    sys.exit(report())


if __name__ == "__main__":
    main()
