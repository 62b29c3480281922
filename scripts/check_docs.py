#!/usr/bin/env python3
"""Checks that documentation says what the sources say.

- A code block after `<!-- snippet: FILE#NAME -->` equals the lines of FILE between the comments
  `[NAME]` and `[/NAME]` (`--fix` copies them over).
- Links and paths in code spans lead to files that exist, anchors to headings that exist.
- docs/errors.md has a section per code of include/monograph/error.h, and no other.
- In tables whose last column is headed "test", spans like `Suite.Name` are tests that exist (`*` for
  any), and words in quotes are rows of the tables in tests/refuse.
- docs/pitfalls.md has its 52 rows, and each names tests, programs of tests and their cases that
  exist, or a section of docs/limits.md.
- Every MONOGRAPH_* switch read from the environment stands in include/monograph/options.h.

Prints `file:line: message` per breach and exits with 1 if there is any.
Usage: scripts/check_docs.py [--fix | --self-test]
"""
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("runtime/", "capture/", "kernels/", "include/", "tests/", "bench/", "scripts/", "docs/")
# Code spans that name a file to be, not one that is.
PLACEHOLDER = re.compile(r"[<>*{}$ ]|\.\.\.|(^|/)NN_")

SNIPPET = re.compile(r"<!-- snippet: (\S+)#(\S+) -->\n+```\w*\n(.*?)```", re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE_SPAN = re.compile(r"`([^`\n]+)`")
TEST_NAME = re.compile(r"^(?:\w+/)?([A-Z]\w*)\.(\w+|\*)$")
TEST_CODE = re.compile(r"\b(?:TYPED_)?TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\)")
REGISTERED = re.compile(r"add_test\(NAME (\w+)|monograph_\w*test\((\w+)")
PITFALLS = 52
GETENV = re.compile(r'"(MONOGRAPH_[A-Z_]+)"')


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT,
                         check=True, capture_output=True, text=True).stdout
    return [Path(line) for line in out.splitlines() if (ROOT / line).is_file()]


def region(source, name):
    """Lines of `source` between the comments [name] and [/name], unindented; None if missing."""
    match = re.search(rf"^[^\n]*\[{re.escape(name)}\]\s*\n(.*?)^[^\n]*\[/{re.escape(name)}\]",
                      source, re.S | re.M)
    return textwrap.dedent(match[1]) if match else None


def slug(heading):
    """GitHub's anchor for a heading."""
    text = re.sub(r"[`*]", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(text):
    return {slug(m) for m in re.findall(r"^#+ (.+)$", text, re.M)}


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def check_snippets(path, text, read):
    for match in SNIPPET.finditer(text):
        file, name, shown = match.groups()
        source = read(file)
        line = line_of(text, match.start())
        wanted = region(source, name) if source is not None else None
        if wanted is None:
            yield path, line, f"no region [{name}] in {file}"
        elif wanted != shown:
            yield path, line, f"snippet differs from {file}#{name}; scripts/check_docs.py --fix"


def check_links(path, text, read):
    prose = re.sub(r"```.*?```", lambda m: "\n" * m[0].count("\n"), text, flags=re.S)
    for match in LINK.finditer(prose):
        target = match[1]
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        resolved = (Path(path).parent / file).as_posix() if file else Path(path).as_posix()
        source = read(resolved)
        if source is None:
            yield path, line_of(prose, match.start()), f"dead link: {target}"
        elif anchor and anchor not in anchors(source):
            yield path, line_of(prose, match.start()), f"no heading for anchor: {target}"
    for match in CODE_SPAN.finditer(prose):
        span = match[1].rstrip("/")
        if (match[1].startswith(ROOMS) and not PLACEHOLDER.search(span)
                and read(span.split(":")[0]) is None):
            yield path, line_of(prose, match.start()), f"dead path: {span}"


def check_error_codes(header, page):
    codes = set(re.findall(r"\bk(\w+) = \d+,", header))
    sections = set(re.findall(r"^### (\w+)$", page, re.M))
    for code in sorted(codes - sections):
        yield Path("docs/errors.md"), 1, f"no section for code {code}"
    for section in sorted(sections - codes):
        yield Path("docs/errors.md"), 1, f"section for {section}, which is no code"


def check_tests(path, text, tests, rows):
    """tests: (suite, name) of every test; rows: source text that holds the rows of tests/refuse."""
    wanted = False
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            wanted = False
        elif cells[-1].lower() == "test":
            wanted = True
        elif wanted:
            for span in CODE_SPAN.findall(cells[-1]):
                match = TEST_NAME.match(span)
                known = match and any(suite == match[1] and match[2] in (name, "*")
                                      for suite, name in tests)
                if match and not known:
                    yield path, number, f"no test {span}"
            for row in re.findall(r'"([^"]+)"', cells[-1]):
                if f'"{row}"' not in rows:
                    yield path, number, f'no row "{row}" in tests/refuse'


def check_pitfalls(page, tests, sources, registered):
    """tests: as for check_tests; sources: their text; registered: names that CMake files hold."""
    path, seen = Path("docs/pitfalls.md"), []
    suites = {suite for suite, _ in tests}
    for number, line in enumerate(page.splitlines(), 1):
        row = re.match(r"\| (\d+) \|", line)
        if row is None:
            continue
        seen.append(int(row[1]))
        cell = re.sub(r"\[[^\]]*\]\([^)]*\)", "", line.rstrip("| ").rsplit(" | ", 1)[1])
        names = CODE_SPAN.findall(re.sub(r"\([^)]*\)", "", cell))
        if not names and '"' not in cell and "(limits.md#" not in line:
            yield path, number, f"row {row[1]} names no test"
        for name in names:  # those with a dot are check_tests'
            if "." not in name and name not in suites | registered:
                yield path, number, f"no test {name}"
        for case in CODE_SPAN.findall("".join(re.findall(r"\([^)]*\)", cell))):
            is_file = case.endswith(".rules") and read_file(f"tests/vgpu/rules/{case}") is not None
            if not is_file and f'"{case}"' not in sources:
                yield path, number, f"no case {case} in tests"
    if seen != list(range(1, PITFALLS + 1)):
        yield path, 1, f"rows aren't 1 to {PITFALLS}"


def check_switches(sources, options):
    """sources: (path, text) of everything that may read the environment."""
    listed = set(re.findall(r"\b(MONOGRAPH_[A-Z_]+)\b", options))
    for path, text in sources:
        for match in GETENV.finditer(text):
            if match[1] not in listed:
                yield path, line_of(text, match.start()), f"{match[1]} isn't in options.h"


def read_file(name):
    path = ROOT / name
    if path.is_dir():
        return ""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def fix_snippets(path):
    def replace(match):
        wanted = region(read_file(match[1]) or "", match[2])
        if wanted is None:
            return match[0]
        before, after = match.start(3) - match.start(), match.end(3) - match.start()
        return match[0][:before] + wanted + match[0][after:]

    text = (ROOT / path).read_text(encoding="utf-8")
    fixed = SNIPPET.sub(replace, text)
    if fixed != text:
        (ROOT / path).write_text(fixed, encoding="utf-8")
        print(f"{path}: snippets updated")


def self_test():
    files = {"a.cpp": "int x;\n  // [one]\n  int y;\n    int z;\n  // [/one]\n",
             "b.md": "# Head line\n", "docs/here.md": ""}

    def snippets(block):
        text = f"<!-- snippet: a.cpp#one -->\n```cpp\n{block}```\n"
        return list(check_snippets("d.md", text, files.get))

    def links(text):
        return list(check_links("d.md", text, files.get))

    header = "kInvalidFile = 202,\n"
    rows = "".join(f"| {n} | what | how | `A.One`, `prog` (`odd`) |\n" for n in range(1, 53))

    def pitfalls(page):
        return list(check_pitfalls(page, {("A", "One")}, 'run("odd")', {"prog"}))

    cases = [
        not snippets("int y;\n  int z;\n"),
        bool(snippets("int y;\n")),
        bool(list(check_snippets("d.md", "<!-- snippet: a.cpp#two -->\n```\n```", files.get))),
        not links("[x](b.md#head-line) `docs/here.md` [y](https://example.com)"),
        bool(links("[x](c.md)")),
        bool(links("[x](b.md#other)")),
        bool(links("`docs/gone.md`")),
        not list(check_error_codes(header, "### InvalidFile\n")),
        bool(list(check_error_codes(header, ""))),
        bool(list(check_error_codes(header, "### InvalidFile\n### Other\n"))),
        not list(check_tests("d.md", "| a | Test |\n|---|---|\n| x | `S.One`, `I/S.*`, \"row\" |",
                             {("S", "One")}, 'f("row")')),
        bool(list(check_tests("d.md", "| a | test |\n|---|---|\n| x | `S.Two` |", {("S", "One")}, ""))),
        bool(list(check_tests("d.md", "| a | test |\n|---|---|\n| x | \"row\" |", set(), ""))),
        not pitfalls(rows),
        not pitfalls(rows.replace("`A.One`, `prog` (`odd`)", "see [limits](limits.md#x)", 1)),
        bool(pitfalls(rows.replace("`prog`", "`gone`", 1))),
        bool(pitfalls(rows.replace("`odd`", "`even`", 1))),
        bool(pitfalls(rows.replace("`A.One`, `prog` (`odd`)", "none", 1))),
        bool(pitfalls(rows.replace("| 7 |", "| 8 |", 1))),
        bool(list(check_switches([("a", 'getenv("MONOGRAPH_NEW")')], "MONOGRAPH_OLD"))),
        not list(check_switches([("a", 'getenv("MONOGRAPH_OLD")')], "MONOGRAPH_OLD")),
    ]
    failed = [number for number, good in enumerate(cases, 1) if not good]
    print(f"{len(cases) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    pages = tracked("*.md")
    if sys.argv[1:] == ["--fix"]:
        for page in pages:
            fix_snippets(page)
    breaches = []
    sources = [read_file(p) for p in tracked("tests/*.cpp", "tests/*.h")]
    tests = {match for source in sources for match in TEST_CODE.findall(source)}
    rows = "\n".join(read_file(p) for p in tracked("tests/refuse/*.cpp"))
    for page in pages:
        text = read_file(page)
        breaches += check_tests(page, text, tests, rows)
        breaches += check_snippets(page, text, read_file)
        breaches += check_links(page, text, read_file)
    breaches += check_error_codes(read_file("include/monograph/error.h"),
                                  read_file("docs/errors.md") or "")
    cmake = "".join(read_file(p) for p in tracked("*CMakeLists.txt"))
    registered = {name for pair in REGISTERED.findall(cmake) for name in pair if name}
    breaches += check_pitfalls(read_file("docs/pitfalls.md") or "", tests, "\n".join(sources),
                               registered)
    sources = [(p, read_file(p)) for p in tracked("runtime/*.cpp", "capture/*.cpp", "runtime/*.h")]
    breaches += check_switches(sources, read_file("include/monograph/options.h"))
    for path, line, message in breaches:
        print(f"{path}:{line}: {message}")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
