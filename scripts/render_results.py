#!/usr/bin/env python3
"""Renders the tables of docs/performance.md and README.md from the result files in bench/results.

Usage: scripts/render_results.py [--check]
  --check  writes nothing; fails if a page isn't what the result files say

A page holds a table where it says `<!-- results: FILE... -->` up to `<!-- end of results -->`; FILE is
a name in bench/results. README's form is `<!-- summary: FILE... -->`: one line per model. Of files that
kernels_timing wrote, `<!-- kernels: FILE... -->` makes a table of kernels, `<!-- figures: FILE... -->`
one of sizes and times beside the calls themselves.
"""

import json
import pathlib
import re
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAGES = [ROOT / "docs" / "performance.md", ROOT / "README.md"]
BLOCK = re.compile(r"(<!-- (results|summary|kernels|figures): ([^>]*?) -->\n).*?(<!-- end of results -->)", re.S)


def title(model):
    parts = [model["model"], {"Float": "fp32", "Half": "fp16", "BFloat16": "bf16"}[model["dtype"]]]
    parts.append(f"batch {model['batch']}")
    if model["length"]:
        parts.append(f"length {model['length']}")
    return ", ".join(parts)


def rounds(contender, key):
    series = contender.get(key)
    return series["rounds"] if series else []


def time(contender, key):
    series = contender.get(key)
    if not series:
        return "–"
    return f"{series['median']:.1f} [{series['p10']:.1f}, {series['p90']:.1f}]"


def ratio(ours, other):
    """Median over rounds of our time by theirs, on the wall clock."""
    pairs = zip(rounds(ours, "wall_us"), rounds(other, "wall_us"))
    return statistics.median(a / b for a, b in pairs)


def floor(result, model, contender):
    best = contender.get("device_us") or contender.get("wall_us")
    if not result["bytes_per_us"] or not best:
        return "–"
    return f"{100 * model['read_bytes'] / result['bytes_per_us'] / best['median']:.0f} %"


def detail(result, name):
    lines = [f"Result file `bench/results/{name}`: {result['device']}; {result['host']}; torch "
             f"{result['torch']}, Monograph {result['monograph']}; {result['date']}.",
             f"`{result['command']}`", ""]
    if result.get("threads") and result["device"] == "host":
        lines[0] = lines[0][:-1] + f"; threads: {result['threads']}; {result['clocks']}."
    for model in result["models"]:
        checked = f"answers checked against {model['reference']}" if model["reference"] else "not run"
        lines += [f"**{title(model)}** – {checked}", "",
                  "| contender | wall µs, median [p10, p90] | device µs | Monograph's time by this one's | share of the read floor |",
                  "|---|---|---|---|---|"]
        ours = model["contenders"][0]
        for c in model["contenders"]:
            if c["status"] != "ok":
                lines.append(f"| {c['name']} | {c['status']}: {c['reason'].splitlines()[0][:120]} | | | |")
                continue
            by = "–" if c is ours or ours["status"] != "ok" else f"{ratio(ours, c):.2f}"
            lines.append(f"| {c['name']} | {time(c, 'wall_us')} | {time(c, 'device_us')} | {by} | {floor(result, model, c)} |")
        lines.append("")
    return lines


def summary(results):
    names = []
    for result in results:
        for model in result["models"]:
            names += [c["name"] for c in model["contenders"][1:] if c["name"] not in names]
    lines = ["| model | Monograph µs | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for result in results:
        for model in result["models"]:
            ours = model["contenders"][0]
            cells = []
            for name in names:
                other = next((c for c in model["contenders"] if c["name"] == name), None)
                ok = other and other["status"] == ours["status"] == "ok"
                cells.append(f"{other['wall_us']['median']:.1f} ({1 / ratio(ours, other):.2f} ×)" if ok
                             else other["status"] if other else "–")
            mine = f"{ours['wall_us']['median']:.1f}" if ours["status"] == "ok" else ours["status"]
            lines.append(f"| {title(model)} | {mine} | " + " | ".join(cells) + " |")
    return lines + [""]


def kernels(name, result):
    lines = [f"Result file `bench/results/{name}`: {result['device']}, {result['multiprocessors']} SMs, driver for CUDA "
             f"{result['driver'] // 1000}.{result['driver'] % 1000 // 10}; read ceiling "
             f"{result['read_bytes_per_us'] / 1e6:.2f} TB/s; `kernels_timing --json {name}`.", "",
             "| case | kernel | µs a launch | with programmatic edges | least bytes at the ceiling, µs | achieved TB/s | of the ceiling |",
             "|---|---|---|---|---|---|---|"]
    for k in result["kernels"]:
        best = min(k["us"], k["programmatic_us"])
        rate = k["bytes"] / best / 1e6
        lines.append(f"| {k['case']} | {k['kernel']} | {k['us']:.2f} | {k['programmatic_us']:.2f} | {k['predicted_us']:.2f} | "
                     f"{rate:.2f} | {100 * rate * 1e6 / result['read_bytes_per_us']:.0f} % |")
    return lines + [""]


def mebibytes(value):
    return f"{value / 2 ** 20:.1f}"


def figures(results):
    lines = ["| model | launches | of them library calls | arena KiB (least) | device memory beside weights MiB | trace + passes ms | build ms | "
             "host µs a call | graphed eager's | reduce-overhead's first call s |", "|---|---|---|---|---|---|---|---|---|---|"]
    for result in results:
        for model in result["models"]:
            by_name = {c["name"]: c for c in model["contenders"]}
            ours = model["contenders"][0]
            f = ours.get("figures", {})
            if "launches" not in f:
                continue
            host = [f"{by_name[n]['host_us']:.1f}" if by_name.get(n, {}).get("host_us") else "–"
                    for n in (ours["name"], "graphed eager")]
            peer = by_name.get("reduce-overhead", {}).get("figures", {}).get("own_prepare_ms")
            lines.append(f"| {title(model)} | {f['launches']:.0f} | {f.get('child_graphs', 0):.0f} | {f['arena_bytes'] / 1024:.0f} "
                         f"({f['arena_lower_bound'] / 1024:.0f}) | {mebibytes(f.get('device_bytes', 0))} | "
                         f"{f['trace_ms'] + f['passes_ms']:.0f} | {f['build_ms']:.0f} | {host[0]} | {host[1]} | "
                         f"{f'{peer / 1e3:.0f}' if peer else '–'} |")
    return lines + [""]


def load(name):
    path = RESULTS / name
    try:
        result = json.loads(path.read_text())
        if "kernels" not in result and result["format"] != 1:
            raise ValueError(f"format {result['format']}")
        return result
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"error: {path.relative_to(ROOT)} is no result file: {error}")


def render(match):
    names = match[3].split()
    results = [load(name) for name in names]
    if match[2] == "summary":
        lines = summary(results)
    elif match[2] == "figures":
        lines = figures(results)
    elif match[2] == "kernels":
        lines = [line for name, result in zip(names, results) for line in kernels(name, result)]
    else:
        lines = [line for name, result in zip(names, results) for line in detail(result, name)]
    return match[1] + "\n" + "\n".join(lines) + match[4]


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    stale = []
    for page in PAGES:
        if not page.exists():
            continue
        text = page.read_text()
        new = BLOCK.sub(render, text)
        if new != text:
            stale.append(str(page.relative_to(ROOT)))
            if not sys.argv[1:]:
                page.write_text(new)
    if sys.argv[1:] and stale:
        sys.exit(f"error: {', '.join(stale)} differ from the result files; run scripts/render_results.py")


if __name__ == "__main__":
    main()
