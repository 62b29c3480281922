#include "tests/passes/filecheck.h"

#include <fmt/format.h>

#include <exception>

#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "tests/passes/interpreter.h"

namespace monograph::passes::testing {
namespace {

using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;

struct Directive {
  std::string kind;  // "", "-NEXT", "-SAME" or "-NOT"
  std::string text;
};

std::string squeezed(std::string_view line) {
  std::string out;
  for (const char c : line) {
    const bool blank = c == ' ' || c == '\t';
    if (blank && (out.empty() || out.back() == ' ')) continue;
    out += blank ? ' ' : c;
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.push_back(squeezed(text.substr(0, end)));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

std::vector<Directive> directives_in(std::string_view source) {
  constexpr std::string_view kMark = "// CHECK";
  std::vector<Directive> found;
  for (const std::string& line : lines_of(source)) {
    if (!line.starts_with(kMark)) continue;
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    found.push_back({line.substr(kMark.size(), colon - kMark.size()),
                     squeezed(std::string_view(line).substr(colon + 1))});
  }
  return found;
}

struct Place {
  std::size_t line = 0;
  std::size_t column = 0;
};

/// First occurrence of `text` in lines [from, to), in the first of them from `from.column` on.
bool find(const std::vector<std::string>& lines, const std::string& text, Place from,
          std::size_t to, Place& found) {
  for (std::size_t i = from.line; i < to && i < lines.size(); ++i) {
    const std::size_t at = lines[i].find(text, i == from.line ? from.column : 0);
    if (at == std::string::npos) continue;
    found = {i, at};
    return true;
  }
  return false;
}

class Checker {
 public:
  explicit Checker(std::string_view output) : lines_(lines_of(output)) {}

  AssertionResult run(const std::vector<Directive>& directives) {
    std::vector<std::string> forbidden;
    for (const Directive& d : directives) {
      if (d.kind == "-NOT") {
        forbidden.push_back(d.text);
        continue;
      }
      Place match;
      if (!locate(d, match))
        return AssertionFailure() << "no match for CHECK" << d.kind << ": " << d.text;
      if (const AssertionResult r = none(forbidden, match); !r) return r;
      forbidden.clear();
      at_ = {match.line, match.column + d.text.size()};
      started_ = true;
    }
    return none(forbidden, {lines_.size(), 0});
  }

 private:
  bool locate(const Directive& d, Place& match) const {
    if (d.kind == "-NEXT") {
      const std::size_t next = started_ ? at_.line + 1 : 0;
      return find(lines_, d.text, {next, 0}, next + 1, match);
    }
    if (d.kind == "-SAME") return find(lines_, d.text, at_, at_.line + 1, match);
    return d.kind.empty() && find(lines_, d.text, at_, lines_.size(), match);
  }

  AssertionResult none(const std::vector<std::string>& forbidden, Place until) const {
    for (const std::string& text : forbidden) {
      Place match;
      if (!find(lines_, text, at_, until.line + 1, match)) continue;
      const bool before = match.line < until.line || match.column < until.column;
      if (before)
        return AssertionFailure() << "line " << match.line + 1 << " has CHECK-NOT: " << text;
    }
    return AssertionSuccess();
  }

  std::vector<std::string> lines_;
  Place at_;
  bool started_ = false;
};

bool within(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  double largest = 0;
  for (const double x : a) largest = std::max(largest, std::abs(x));
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](double x, double y) {
    return std::abs(x - y) <= tolerance * largest;  // false for NaN
  });
}

bool within(const Outcome& a, const Outcome& b, double tolerance) {
  if (tolerance == 0) return a.outputs == b.outputs && a.state == b.state;
  const auto alike = [tolerance](const Tensor& s, const Tensor& t) {
    return s.sizes == t.sizes && within(s.elements, t.elements, tolerance);
  };
  return std::equal(a.outputs.begin(), a.outputs.end(), b.outputs.begin(), b.outputs.end(),
                    alike) &&
         std::equal(a.state.begin(), a.state.end(), b.state.begin(), b.state.end(),
                    [tolerance](const auto& s, const auto& t) {
                      return s.first == t.first && within(s.second, t.second, tolerance);
                    });
}

AssertionResult same_results(const ir::Graph& before, const ir::Graph& after,
                             const std::vector<Contents*>& contents, double tolerance) {
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const Outcome was = interpret(before, *contents[i], 17 + i);
    const Outcome is = interpret(after, *contents[i], 99 + i);
    if (!within(was, is, tolerance))
      return AssertionFailure() << "the outputs differ, or the state";
  }
  return AssertionSuccess();
}

AssertionResult settled(ir::Graph& graph, const std::vector<std::string>& passes,
                        PassContext& context) {
  std::string why;
  const std::string text = ir::text(graph);
  if (!ir::same(ir::parse(text), graph, &why)) return AssertionFailure() << "text differs: " << why;
  for (const PassReport& report : run_passes(graph, passes, context)) {
    if (report.changes != 0) {
      return AssertionFailure() << "a second run of " << report.pass << " changes the graph:\n"
                                << fmt::format("{}", fmt::join(report.notes, "\n"));
    }
  }
  return AssertionSuccess();
}

AssertionResult run_and_check(const std::vector<std::string>& passes, std::string_view source,
                              bool expect_change, double tolerance) {
  ir::Graph graph = ir::parse(source);
  ir::verify(graph);
  const ir::Graph before = graph.clone();
  Contents first(1), second(2);
  const std::vector<Contents*> contents{&first, &second};
  Evaluator evaluator(contents);
  PassContext context{&evaluator};
  std::int64_t changes = 0;
  for (const PassReport& report : run_passes(graph, passes, context)) changes += report.changes;
  ir::verify(graph);
  const std::string output = ir::text(graph);
  const auto failed = [&output](const AssertionResult& r) {
    return AssertionFailure() << r.message() << "\nin\n" << output;
  };
  if (!expect_change) {
    std::string why;
    if (changes != 0) return failed(AssertionFailure() << "the passes report changes");
    if (!ir::same(before, graph, &why)) return failed(AssertionFailure() << why);
  } else if (const AssertionResult r = file_check(output, source); !r) {
    return failed(r);
  }
  if (const AssertionResult r = same_results(before, graph, contents, tolerance); !r)
    return failed(r);
  if (const AssertionResult r = settled(graph, passes, context); !r) return failed(r);
  return AssertionSuccess();
}

AssertionResult guarded(const std::vector<std::string>& passes, std::string_view source,
                        bool expect_change, double tolerance = 0) {
  try {
    return run_and_check(passes, source, expect_change, tolerance);
  } catch (const std::exception& e) {
    return AssertionFailure() << e.what() << "\nin\n" << source;
  }
}

}  // namespace

AssertionResult file_check(std::string_view output, std::string_view source) {
  const std::vector<Directive> directives = directives_in(source);
  if (directives.empty()) return AssertionFailure() << "there are no CHECK lines";
  return Checker(output).run(directives);
}

AssertionResult transforms(const std::vector<std::string>& passes, std::string_view source) {
  return guarded(passes, source, true);
}

AssertionResult transforms_within(double tolerance, const std::vector<std::string>& passes,
                                  std::string_view source) {
  return guarded(passes, source, true, tolerance);
}

AssertionResult unchanged(const std::vector<std::string>& passes, std::string_view source) {
  return guarded(passes, source, false);
}

std::string notes_of(const std::string& pass, std::string_view source) {
  ir::Graph graph = ir::parse(source);
  Contents contents(1);
  Evaluator evaluator({&contents});
  PassContext context{&evaluator};
  const PassReport report = find_pass(pass).run(graph, context);
  return fmt::format("{}", fmt::join(report.notes, "\n"));
}

}  // namespace monograph::passes::testing
