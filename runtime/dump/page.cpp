#include "runtime/dump/page.h"

#include <monograph/error.h>

#include <string_view>

#include "runtime/dump/assets.h"
#include "runtime/dump/json.h"

namespace monograph::dump {
namespace {

/// Text of all stages beyond this is left to the files beside the page.
constexpr std::size_t kMaxTextBytes = std::size_t{2} << 20;

/// JSON inside a script element: nothing in it may end the element or open a comment.
std::string script_safe(std::string_view json) {
  std::string out;
  out.reserve(json.size() + json.size() / 16);
  for (const char c : json) {
    if (c == '<' || c == '>' || c == '&') {
      out += c == '<' ? "\\u003c" : c == '>' ? "\\u003e" : "\\u0026";
    } else {
      out += c;
    }
  }
  return out;
}

std::string html_safe(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string_view asset(std::string_view name) {
  const std::string* text = embedded_source(name);
  if (text == nullptr) throw Error(Code::kInternal, "no page part '" + std::string(name) + "'");
  return *text;
}

}  // namespace

std::string page(const Snapshot& snapshot) {
  const std::string_view source = asset("page.html");
  std::string out;
  std::size_t at = 0;
  while (true) {
    const std::size_t open = source.find("{{", at);
    out += source.substr(at, open - at);
    if (open == std::string_view::npos) return out;
    const std::size_t close = source.find("}}", open);
    const std::string_view slot = source.substr(open + 2, close - open - 2);
    if (slot == "title") {
      out += html_safe(snapshot.module);
    } else if (slot == "data") {
      out += script_safe(json_text(snapshot, kMaxTextBytes));
    } else {
      out += asset(slot);
    }
    at = close + 2;
  }
}

}  // namespace monograph::dump
