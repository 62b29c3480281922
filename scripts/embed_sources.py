#!/usr/bin/env python3
"""Writes a C++ file holding the text of kernel sources under the names they are included by.

usage: embed_sources.py OUTPUT SOURCE...

Device headers keep "mg/" in their name; kernel sources go by their bare file name.
"""

import pathlib
import sys

HEAD = """// Generated from kernels/; do not edit.
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/registry.h"

namespace monograph::kernels {
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

}  // namespace monograph::kernels
"""


def literal(text: str) -> str:
    """`text` as adjacent string literals, one a line."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
    lines = text.splitlines(keepends=True) or [""]
    return "\n".join('     "' + "".join(escapes.get(c, c) for c in line) + '"' for line in lines)


def main(output: str, sources: list[str]) -> None:
    entries = {}
    for source in sources:
        path = pathlib.Path(source)
        name = f"mg/{path.name}" if path.parent.name == "mg" else path.name
        if name in entries:
            sys.exit(f"two kernel sources are named {name}")
        entries[name] = path.read_text(encoding="utf-8")
    body = "".join(f'    {{"{name}",\n{literal(entries[name])}}},\n' for name in sorted(entries))
    pathlib.Path(output).write_text(HEAD + body + TAIL, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
