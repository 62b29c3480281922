#!/usr/bin/env python3
"""Packs a part of the cases below FOLDER for the test run: one manifest, one compressed archive.

Usage: pack.py FOLDER OUTPUT.tar.xz [--part I/N] [--only REGEX]

Archives are written anew without sample inputs and with stack traces that name no folder of this
machine; the graph, the weights and the values stay as they are. Same cases, same bytes out.
"""
import argparse
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path

FOLDER = re.compile(r'(File \\?")/[^"\\]*/((?:site-packages/)?[^"/\\]+\.py)')
DROPPED = ("/data/sample_inputs/", "/.data/")


def relative(text):
    """Stack traces say where on the maker's machine a file lay; here only its name stays."""
    return FOLDER.sub(r"\1\2", text)


def smaller(data):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if any(part in name for part in DROPPED):
                continue
            content = old.read(name)
            if name.endswith(".json"):
                content = relative(content.decode()).encode()
            new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


def cases_of(folder):
    for manifest in sorted(folder.rglob("manifest.jsonl")):
        for line in manifest.read_text().splitlines():
            case = json.loads(line)
            if "skip" not in case:
                yield manifest.parent, case


def add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    part, parts = map(int, args.part.split("/"))
    cases = sorted(cases_of(args.folder), key=lambda c: c[1]["name"])
    operators = sorted({case.get("op", case["name"]) for _, case in cases})
    chosen = {op for op in operators[part::parts] if re.search(args.only, op)}
    cases = [(f, c) for f, c in cases if c.get("op", c["name"]) in chosen]
    with tarfile.open(args.output, "w:xz", preset=6) as tar:
        lines = "".join(json.dumps(case, sort_keys=True) + "\n" for _, case in cases)
        add(tar, "manifest.jsonl", lines.encode())
        for folder, case in cases:
            name = case["name"]
            add(tar, name + ".pt2", smaller((folder / f"{name}.pt2").read_bytes()))
            add(tar, name + ".safetensors", (folder / f"{name}.safetensors").read_bytes())
    print(f"{len(cases)} cases of {len(chosen)} operators, {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
