#!/usr/bin/env python3
"""Writes the table of an acceptance run as Markdown, from the reports of monograph_acceptance.

Usage: table.py ops FOLDER [--output FILE]     one line per operator
       table.py zoo FOLDER [--output FILE]     one line per model
Exits with 1 if a case failed or a case of a manifest has no verdict.
"""
import argparse
import collections
import json
import re
import subprocess
import sys
from pathlib import Path

# A refusal because of what the operator is, not of what we lack.
BY_NATURE = {"RejectedRandom": "draws random numbers",
             "RejectedDataDependence": "reads values on the host",
             "RejectedDynamicShape": "sizes depend on values",
             "RejectedMutation": "writes an input"}
# Why there is no case: the operator's nature, or a machine or a kind of tensor that isn't there.
NO_CASE = (("random|undefined contents", "random or undefined results"),
           ("no tensor among its results|DataDependent|DynamicOutputShape", "values on the host"),
           ("CUDA and ROCm", "for GPUs only"),
           ("sparse|no dense tensors", "sparse tensors"))


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read(folder):
    """Cases of all manifests below `folder`, each with its verdict."""
    cases = []
    for manifest in sorted(folder.rglob("manifest.jsonl")):
        verdicts, begun = {}, set()
        for line in lines_of(manifest.parent / "report.jsonl"):
            if "begin" in line:
                begun.add(line["begin"])
            else:
                verdicts[line["name"]] = line
        for case in lines_of(manifest):
            if "skip" in case:
                verdict = {"status": "skip", "reason": case["skip"], "code": ""}
            elif case["name"] in verdicts:
                verdict = verdicts[case["name"]]
            elif case["name"] in begun:
                verdict = {"status": "fail", "reason": "the runner crashed", "code": "crash"}
            else:
                verdict = {"status": "missing", "reason": "no verdict", "code": ""}
            cases.append(case | verdict)
    return cases


def commit():
    """The commit that this tree is at, and whether it was changed since."""
    def git(*args):
        return subprocess.run(["git", *args], cwd=Path(__file__).parent, capture_output=True,
                              text=True).stdout.strip()
    changed = git("status", "--porcelain", "--untracked-files=no", ":/", ":!/docs")
    return git("log", "-1", "--format=%h of %cs") + (", changed" if changed else "")


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def short(reason, limit=110):
    reason = reason.split(": a replay would")[0].split(", and a replay would")[0]
    reason = reason.split(", where a replay")[0]
    return cell(reason if len(reason) <= limit else reason[:limit] + "...")


def kind_of(case):
    if case["status"] != "refused":
        return case["status"]
    return "nature" if case["code"] in BY_NATURE else "refused"


def verdict_of(cases):
    """The worst of an operator's cases."""
    kinds = {kind_of(c) for c in cases}
    for kind in ("missing", "fail", "refused", "nature", "pass", "skip"):
        if kind in kinds:
            return kind
    return "skip"


def share(part, whole):
    return f"{100 * part / whole if whole else 0:.1f} %"


def no_case(reason):
    """Why an operator has no case, in a word; empty if nothing about it forbids one."""
    return next((why for pattern, why in NO_CASE if re.search(pattern, reason)), "")


def summary(rows, what, passing):
    counts = collections.Counter(kind for _, kind, _ in rows)
    judged = counts["pass"] + counts["refused"] + counts["fail"]
    yield (f"{len(rows)} {what}: {counts['pass']} {passing}, {counts['refused']} refused, "
           f"{counts['nature']} refused by their nature, {counts['fail']} failed, "
           f"{counts['skip']} without a case ({share(counts['pass'], judged)} of those that could "
           "pass do).")
    if counts["missing"]:
        yield f"\n{counts['missing']} have no verdict yet: the run isn't complete."


def strict_share(rows):
    """The share of entries that pass among all that are deterministic and depend on no values."""
    left_out = collections.Counter()
    counted = passed = 0
    for _, kind, group in rows:
        worst = [c for c in group if kind_of(c) == kind]
        reasons = {no_case(c["reason"]) for c in worst} if kind == "skip" else set()
        if kind == "skip" and "" not in reasons:
            left_out[sorted(reasons)[0]] += 1
        elif kind == "nature" and all(c["code"] != "RejectedMutation" for c in worst):
            left_out[BY_NATURE[worst[0]["code"]]] += 1
        else:
            counted += 1
            passed += kind == "pass"
    listed = ", ".join(f"{n} {why}" for why, n in sorted(left_out.items()))
    yield (f"\nCounted strictly, of all entries that are deterministic and depend on no values, those "
           f"that write an input or whose results no case can hold included: {passed} of {counted} "
           f"pass, {share(passed, counted)}. Left out: {listed}.")


def samples_in(case):
    """How many samples a case holds: all of them, or one that is an archive of its own."""
    return case.get("samples", 1) if case["name"] == f"{case['op']}__{case['dtype']}" else 1


def sample_counts(cases):
    held = collections.Counter()
    for case in cases:
        if case["status"] not in ("skip", "missing"):
            held[case["op"], case["dtype"]] += samples_in(case)
    wanted = max(held.values(), default=0)
    fewer = [f"{op} ({dtype}: {n})" for (op, dtype), n in sorted(held.items()) if n < wanted]
    yield (f"\n{sum(c['status'] not in ('skip', 'missing') for c in cases)} archives hold "
           f"{sum(held.values()):,} samples: {wanted} of each of {len(held) - len(fewer):,} operators "
           f"and dtypes, fewer of {len(fewer)}" + (": " + ", ".join(fewer) if fewer else "") + ".\n")


def ops_table(cases):
    groups = collections.defaultdict(list)
    for case in cases:
        groups[case["op"]].append(case)
    rows = [(op, verdict_of(group), group) for op, group in sorted(groups.items())]
    yield "# Operators\n"
    yield ("PyTorch's own operator samples (`op_db` of torch 2.11), exported to `.pt2`, imported, "
           "planned and replayed on the host back end on two sets of inputs, then on the first "
           "again. Results are those of eager PyTorch bit for bit or within rounding, or no further "
           "from float64 than twice eager's own error (three times for halves); details in "
           "`tests/acceptance/judge.h`. Eight samples of each operator and dtype, zero-size ones "
           "among them where op_db has any, every fourth non-contiguous; where op_db has fewer than "
           "eight, its reference inputs and then the same shapes with other values come on top.\n")
    yield f"Made at commit {commit()} by:\n\n```sh\nscripts/op_acceptance\n```\n"
    yield ("Every test run repeats a third of it (`ctest -R acceptance_ops`), made of "
           "`tests/acceptance/data/ops.tar.xz`.\n")
    yield from summary(rows, "operators", "pass")
    yield from strict_share(rows)
    yield from sample_counts(cases)
    yield ("\"Refused by their nature\": no graph with fixed shapes can hold them "
           f"({'; '.join(BY_NATURE.values())}).\n")
    yield "## All that isn't a plain pass\n"
    yield "| operator | verdict | code | dtypes | why |\n|---|---|---|---|---|"
    for op, kind, group in rows:
        if kind == "pass":
            continue
        worst = [c for c in group if kind_of(c) == kind]
        passed = sum(c["status"] == "pass" for c in group)
        name = {"nature": "refused by nature", "skip": "no case"}.get(kind, kind)
        if passed and kind in ("nature", "refused"):
            name += f" ({passed} of {len(group)} archives pass)"
        dtypes = ", ".join(sorted({c.get("dtype", "") for c in worst}))
        why = short(worst[0]["reason"])
        if kind == "skip" and no_case(worst[0]["reason"]):
            why = f"{no_case(worst[0]['reason'])}: {why}"
        yield f"| {op} | {name} | {worst[0]['code']} | {dtypes} | {why} |"
    yield "\n## Passing\n"
    passing = []
    for op, kind, group in rows:
        if kind != "pass":
            continue
        dtypes = {c.get("dtype") for c in group if c["status"] == "pass"}
        marks = [m for m, d in (("f32", "float32"), ("f16", "float16"), ("bf16", "bfloat16"),
                                ("i64", "int64"), ("bool", "bool")) if d in dtypes]
        passing.append(f"{op} ({' '.join(marks)})")
    yield ", ".join(passing)


def zoo_table(cases):
    rows = [(c["name"], verdict_of([c]), [c]) for c in sorted(cases, key=lambda c: c["name"])]
    yield "# Models\n"
    yield ("Models of torchvision and transformers, most of them built from small configurations, all "
           "with random weights but for those called trained; exported to `.pt2` (or TorchScript, "
           "where it says so), imported, planned and replayed on the host back end on two sets of "
           "inputs, then on the first again; judged as operators are "
           "([op_acceptance.md](op_acceptance.md)).\n")
    yield f"Made at commit {commit()} by:\n\n```sh\nscripts/model_zoo\n```\n"
    yield ("Every test run repeats a few of them (`ctest -R acceptance_zoo`), with coarsely rounded "
           "weights, from `tests/acceptance/data/zoo.tar.xz`.\n")
    yield from summary(rows, "models", "run")
    yield "\n| model | kind | parameters | launches | verdict | why |\n|---|---|---|---|---|---|"
    for name, kind, (case,) in rows:
        verdict = {"nature": "refused", "skip": "not exported"}.get(kind, kind)
        yield (f"| {name} | {case.get('kind', '')} | {case.get('parameters', 0):,} | "
               f"{case.get('launches', '') or ''} | {verdict} | {short(case.get('reason', ''))} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["ops", "zoo"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    cases = read(args.folder)
    text = "\n".join((ops_table if args.what == "ops" else zoo_table)(cases)) + "\n"
    if args.output:
        args.output.write_text(text)
    bad = [c for c in cases if c["status"] in ("fail", "missing")]
    for case in bad:
        print(f"{case['name']}: {case['status']}: {case['reason']}", file=sys.stderr)
    print(text.split("\n## All that")[0].split("\n| model")[0])
    return 1 if bad or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
