#!/usr/bin/env python3
"""Packs a part of the cases below FOLDER for the test run: one manifest, one compressed archive.

Usage: pack.py FOLDER OUTPUT.tar.xz [--folders GLOB] [--only REGEX] [--largest BYTES]

Archives are written anew without sample inputs and with stack traces that name no folder of this
machine; the graph, the weights and the values stay as they are. Each case carries the verdict of
the report beside it as "expect" ("pass", or the code of the refusal): cases that failed, or have
none, can't be packed. Those with more than --largest bytes of values are left out, and listed. Same
cases, same bytes out.
"""
import argparse
import fnmatch
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


def verdicts(report):
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    return {line["name"]: line["code"] if line["status"] == "refused" else line["status"]
            for line in lines if "status" in line}


def cases_of(folder, pattern):
    for manifest in sorted(folder.rglob("manifest.jsonl")):
        if not fnmatch.fnmatch(manifest.parent.name, pattern):
            continue
        known = verdicts(manifest.parent / "report.jsonl")
        for line in manifest.read_text().splitlines():
            case = json.loads(line)
            if "skip" in case:
                continue
            case["expect"] = known.get(case["name"], "no verdict")
            if case["expect"] in ("fail", "no verdict"):
                raise SystemExit(f"{case['name']}: {case['expect']}")
            yield manifest.parent, case


def add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--folders", default="*")
    parser.add_argument("--only", default="")
    parser.add_argument("--largest", type=int, default=1 << 30)
    args = parser.parse_args()
    cases = [(f, c) for f, c in cases_of(args.folder, args.folders) if re.search(args.only, c["name"])]
    cases.sort(key=lambda c: c[1]["name"])
    values = {c["name"]: (f / f"{c['name']}.safetensors").read_bytes() for f, c in cases}
    large = [name for name, data in values.items() if len(data) > args.largest]
    cases = [(f, c) for f, c in cases if c["name"] not in large]
    with tarfile.open(args.output, "w:xz", preset=9) as tar:
        lines = "".join(json.dumps(case, sort_keys=True) + "\n" for _, case in cases)
        add(tar, "manifest.jsonl", lines.encode())
        for folder, case in cases:
            name = case["name"]
            add(tar, name + ".pt2", smaller((folder / f"{name}.pt2").read_bytes()))
        for _, case in cases:
            add(tar, case["name"] + ".safetensors", values[case["name"]])
    operators = {case.get("op", case["name"]) for _, case in cases}
    print(f"{len(cases)} cases of {len(operators)}, {args.output.stat().st_size} bytes; too large: "
          f"{', '.join(large) or 'none'}")


if __name__ == "__main__":
    main()
