#!/usr/bin/env python3
"""Writes a C++ file holding the text of files, by default kernel sources, under the names they are
included by.

usage: embed_sources.py [--header HEADER] [--namespace NAMESPACE] OUTPUT SOURCE...

HEADER declares embedded_source and embedded_names in NAMESPACE. Device headers keep "mg/" in their
name; other files go by their bare file name.
"""

import argparse
import pathlib
import sys

HEAD = """// Generated; do not edit.
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "@HEADER@"

namespace @NAMESPACE@ {
namespace {

const std::map<std::string, std::string, std::less<>>& files() {
  static const std::map<std::string, std::string, std::less<>> all{
"""
TAIL = """  };
  return all;
}

}  // namespace

const std::string* embedded_source(std::string_view name) noexcept {
  const auto it = files().find(name);
  return it == files().end() ? nullptr : &it->second;
}

std::vector<std::string> embedded_names() {
  std::vector<std::string> names;
  for (const auto& [name, text] : files()) names.push_back(name);
  return names;
}

}  // namespace @NAMESPACE@
"""


def literal(text: str) -> str:
    """`text` as adjacent string literals, one a line; question marks escaped, for no trigraphs."""
    escapes = {"\\": "\\\\", "?": "\\?", '"': '\\"', "\n": "\\n", "\t": "\\t"}
    lines = text.splitlines(keepends=True) or [""]
    return "\n".join('     "' + "".join(escapes.get(c, c) for c in line) + '"' for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--header", default="kernels/registry.h")
    parser.add_argument("--namespace", default="monograph::kernels")
    parser.add_argument("output")
    parser.add_argument("sources", nargs="+")
    arguments = parser.parse_args()
    entries = {}
    for source in arguments.sources:
        path = pathlib.Path(source)
        name = f"mg/{path.name}" if path.parent.name == "mg" else path.name
        if name in entries:
            sys.exit(f"two sources are named {name}")
        entries[name] = path.read_text(encoding="utf-8")
    body = "".join(f'    {{"{name}",\n{literal(entries[name])}}},\n' for name in sorted(entries))
    head, tail = (
        part.replace("@HEADER@", arguments.header).replace("@NAMESPACE@", arguments.namespace)
        for part in (HEAD, TAIL))
    pathlib.Path(arguments.output).write_text(head + body + tail, encoding="utf-8")


if __name__ == "__main__":
    main()
