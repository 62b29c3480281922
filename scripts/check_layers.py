#!/usr/bin/env python3
"""Checks the rules of docs/architecture.md that can be read off the sources.

Who may include whom, what stands at the top level, file and function lengths, and text that has no
place in a source. Prints `file:line: message` per breach and exits with 1 if there is any.

Usage: scripts/check_layers.py [--self-test]
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

TOP_LEVEL = {
    "runtime", "capture", "kernels", "include", "tests", "bench", "scripts", "docs",
    "CMakeLists.txt", "CMakePresets.json", "README.md", "CONTRIBUTING.md", "CHANGELOG.md",
    "LICENSE",
}

# Room -> rooms (or single headers) it may include besides itself and include/monograph. No stage reads backwards.
BASE = {"runtime/base"}
ROOMS = {
    "include/monograph": set(),
    "runtime/base": set(),
    "capture/ir": BASE,
    "capture/passes": BASE | {"capture/ir"},
    "capture/import": BASE | {"capture/ir", "capture/trace/arguments.h", "capture/trace/convert.h",
                              "capture/trace/mapped_weights.h", "capture/trace/origin.h",
                              "capture/trace/program_impl.h", "capture/trace/state_names.h"},
    "capture/trace": BASE | {"capture/ir", "capture/passes", "capture/import/mapped_file.h",
                             "capture/import/safetensors.h"},
    "runtime/plan": BASE,
    "kernels": BASE,
    "runtime/lower": BASE | {"capture/ir", "runtime/plan", "kernels"},
    "runtime/dump": BASE | {"capture/ir", "runtime/plan", "runtime/lower"},
    "runtime/exec": BASE | {"capture/ir", "runtime/plan", "runtime/lower",
                            "capture/trace/dispatch_key.h", "capture/trace/program_impl.h",
                            "capture/passes/fusion/expand.h"},
    # Importers and back ends share the tracer's translation of types and arguments; replay asks
    # whether a trace is running. Nothing else of it.
    "runtime/host": BASE | {"capture/ir", "runtime/plan", "runtime/lower", "runtime/exec",
                            "capture/trace/arguments.h", "capture/trace/convert.h"},
    "runtime/inspect": BASE | {"capture/ir", "capture/passes", "capture/trace",
                               "capture/import/safetensors.h", "capture/import/safetensors_torch.h",
                               "runtime/plan", "runtime/lower", "runtime/exec", "runtime/dump"},
    "runtime/cuda": BASE | {"capture/ir", "runtime/plan", "runtime/lower", "runtime/exec", "kernels"},
    # LibTorch's CUDA kernels, captured: the one part of the CUDA back end that sees the tracer.
    "runtime/cuda/aten": BASE | {"capture/ir", "runtime/plan", "runtime/lower", "runtime/exec",
                                 "runtime/cuda", "capture/trace/arguments.h",
                                 "capture/trace/convert.h", "capture/trace/op_policy.h"},
    "runtime/session": BASE | {"capture", "runtime"},
    "runtime/cli": BASE | {"capture", "runtime", "bench/harness/command.h", "bench/minilm/device.h",
                           "bench/models/zoo/zoo.h"},
    "bench": {"capture", "runtime", "kernels"},
    "tests": {"capture", "runtime", "kernels", "bench"},
}

# Folders whose sources are compiled at run time, and the include roots they are given there.
DEVICE_ROOTS = {
    "kernels": ("kernels/device", "tests/vgpu/include"),
    "tests/vgpu": ("tests/vgpu", "tests/vgpu/include", "kernels/device"),
}

TORCH = re.compile(r"^(torch|ATen|c10|caffe2)/")
CUDA = re.compile(r"^(cuda\w*|cublas\w*|cudnn\w*|nvrtc|nvJitLink|driver_types)\.h$|^(ATen|c10|torch)/.*cuda")
NO_TORCH = ("runtime/base", "capture/ir", "capture/passes", "runtime/plan", "runtime/lower",
            "runtime/dump", "runtime/cuda", "kernels")
SEES_CUDA = ("runtime/cuda", "runtime/cuda/aten", "kernels", "tests", "bench")

# Text that has no place here, with why. Markers are split so that this file passes.
FORBIDDEN = [
    (re.compile(r"(?<![\w.$}])/(root|home/\w+|work|Users/\w+)/"), "path of one machine"),
    (re.compile(r"\b(pypi|pythonhosted|debian)\.org\b"), "name of a package registry's host"),
    (re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b"), "unfinished work"),
    (re.compile(r"\b(GTEST_" r"SKIP|DISABLED" r"_\w+)"), "skipped test"),
    (re.compile(r"\bissue\s+#?\d+|(?<![\w&\"'(/#])#\d{1,5}\b(?!\w)", re.I), "number of an issue"),
]

MAX_FILE = 500
MAX_FUNCTION = 60
TABLES = 1.5  # tests hold tables of cases, and may be longer by this factor
SOURCE = {".h", ".cpp", ".cu", ".cuh", ".inc", ".def"}
TEXT = SOURCE | {".py", ".sh", ".md", ".txt", ".cmake", ".json", ""}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def tracked():
    """Files git knows or would add, as paths relative to the root."""
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                         capture_output=True, text=True).stdout
    return [Path(line) for line in out.splitlines() if (ROOT / line).is_file()]


def room_of(path):
    """The room of a source path: the longest entry of ROOMS that is a prefix of it."""
    text = path if isinstance(path, str) else path.as_posix()
    fits = [r for r in ROOMS if text == r or text.startswith(r + "/")]
    return max(fits, key=len, default=None)


def check_top_level(paths):
    for top in sorted({p.parts[0] for p in paths}):
        if top not in TOP_LEVEL and not top.startswith("."):
            yield Path(top), 0, f"'{top}' doesn't belong at the top level"


def included_room_allowed(room, target, name):
    if target == room or name in ROOMS[room]:
        return True
    return any(target == ok or target.startswith(ok + "/") for ok in ROOMS[room])


def on_device(path, name):
    """True if `path` finds `name` on the include roots of device code."""
    roots = [r for folder, rs in DEVICE_ROOTS.items() if path.as_posix().startswith(folder)
             for r in rs]
    return any((ROOT / root / name).is_file() for root in roots)


def check_include(path, room, quoted, angled):
    name = quoted or angled
    if TORCH.search(name) and room in NO_TORCH:
        return f"{room} must not see LibTorch: {name}"
    if CUDA.search(name) and room not in SEES_CUDA:
        return f"{room} must not see CUDA: {name}"
    if angled is not None:
        if name.startswith(tuple(r + "/" for r in ROOMS)):
            return f"own headers are included with quotes: <{name}>"
        return None
    if on_device(path, name):
        return None
    target = room_of(name)
    if name.startswith("monograph/"):
        return f'public headers are included as <{name}>'
    if target is None:
        return f'include by path from the root: "{name}"'
    if room == "include/monograph":
        return f"public headers include no room: {name}"
    if not included_room_allowed(room, target, name):
        return f"{room} must not include {target}: {name}"
    return None


def check_includes(path, lines):
    room = room_of(path)
    if room is None:
        yield path, 1, "source outside every room"
        return
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match:
            message = check_include(path, room, match[1], match[2])
            if message:
                yield path, number, message
    if path.suffix in {".h", ".cuh"} and "#pragma once" not in lines:
        yield path, 1, "header without #pragma once"


NOT_A_FUNCTION = re.compile(
    r"^\s*(namespace|class|struct|enum|union|extern|typedef|using|template\s*<[^>]*>\s*(class|struct)"
    r"|(inline |static )*(constexpr|const) [^(]*(=|\{)|.*=\s*\{$|public:|private:)")


def limit(path, lines):
    return int(lines * TABLES) if path.parts[0] == "tests" else lines


def without_raw_strings(lines):
    text = re.sub(r'R"(\w*)\(.*?\)\1"', lambda m: '""' + "\n" * m[0].count("\n"),
                  "\n".join(lines), flags=re.S)
    return text.split("\n")


def check_functions(path, lines):
    """Lengths of functions, told by the indentation that clang-format gives their closing brace."""
    lines = without_raw_strings(lines)
    for start, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if indent not in (0, 2) or not line.endswith("{") or NOT_A_FUNCTION.match(line):
            continue
        if line.count("(") != line.count(")"):  # a lambda among arguments
            continue
        if indent == 2 and re.match(r"\s*(if|for|while|switch|else|do|try|return|case|\})\b", line):
            continue
        if re.match(r"\s*TEST(_F|_P)?\(", line):
            continue
        end = next((i for i in range(start + 1, len(lines))
                    if re.match(rf"^ {{{indent}}}\}}", lines[i])), start)
        most = limit(path, MAX_FUNCTION)
        if end - start + 1 > most:
            yield path, start + 1, f"function of {end - start + 1} lines (limit {most})"


def check_text(path, lines):
    for number, line in enumerate(lines, 1):
        for pattern, why in FORBIDDEN:
            if pattern.search(line):
                yield path, number, f"{why}: {line.strip()[:80]}"


def check_file(path):
    if path.suffix not in TEXT or path.name == "LICENSE":
        return
    try:
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return
    if path.suffix in SOURCE:
        yield from check_includes(path, lines)
        yield from check_functions(path, lines)
        if len(lines) > limit(path, MAX_FILE):
            yield path, len(lines), f"file of {len(lines)} lines (limit {limit(path, MAX_FILE)})"
    if path != Path("scripts/check_layers.py"):
        yield from check_text(path, lines)


def self_test():
    """Each rule refuses an example of what it is for and lets a good one pass."""
    def refuses(path, *lines):
        p = Path(path)
        found = list(check_includes(p, lines)) + list(check_text(p, lines))
        found += list(check_functions(p, lines))
        return bool(found)

    once = "#pragma once"
    bad = [
        refuses("capture/ir/x.cpp", "#include <ATen/ops/mm.h>"),
        refuses("runtime/plan/x.cpp", "#include <cuda.h>"),
        refuses("runtime/plan/x.cpp", '#include "capture/ir/graph.h"'),
        refuses("capture/passes/x.cpp", '#include "runtime/plan/plan.h"'),
        refuses("kernels/x.cu", "#include <c10/util/Half.h>"),
        refuses("kernels/x.cu", '#include "capture/ir/graph.h"'),
        refuses("include/monograph/x.h", once, '#include "capture/ir/graph.h"'),
        refuses("include/monograph/x.h", once, "#include <cuda_runtime.h>"),
        refuses("runtime/host/x.cpp", "#include <ATen/cuda/CUDAContext.h>"),
        refuses("runtime/host/x.cpp", '#include "memory.h"'),
        refuses("runtime/host/x.cpp", '#include "runtime/cuda/driver.h"'),
        refuses("runtime/host/x.h", "int f();"),
        refuses("stray/x.cpp", "int f();"),
        refuses("runtime/base/x.cpp", "// see /ro" "ot/notes"),
        refuses("runtime/base/x.cpp", "// as issue" " 12 says"),
        refuses("tests/x.cpp", "  GTEST_" "SKIP();"),
        refuses("runtime/base/x.cpp", "void f() {", *["  g();"] * 60, "}"),
        bool(list(check_top_level([Path("src/x.cpp")]))),
    ]
    good = [
        refuses("runtime/exec/x.cpp", "#include <ATen/ops/mm.h>", '#include "runtime/plan/plan.h"'),
        refuses("include/monograph/x.h", once, "#include <monograph/error.h>"),
        refuses("runtime/cuda/x.cpp", "#include <cuda.h>"),
        refuses("runtime/base/x.cpp", "void f() {", *["  g();"] * 58, "}"),
        refuses("runtime/base/x.cpp", "namespace a {", *["int x;"] * 90, "}"),
        bool(list(check_top_level([Path("capture/ir/x.cpp"), Path(".gitignore")]))),
    ]
    if not all(bad) or any(good):
        print(f"self-test failed: {bad} {good}")
        return 1
    print(f"{len(bad) + len(good)} passed, 0 failed")
    return 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    paths = tracked()
    breaches = list(check_top_level(paths))
    for path in sorted(paths):
        breaches += check_file(path)
    for path, line, message in breaches:
        print(f"{path}:{line}: {message}")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
