#include "runtime/inspect/minify.h"

#include <monograph/error.h>

#include <chrono>
#include <optional>

#include "capture/ir/analysis.h"

namespace monograph::inspect {
namespace {

using Calls = std::vector<const ir::Node*>;

class Minifier {
 public:
  Minifier(Subject subject, const Predicate& fails, const MinifySettings& settings)
      : current_(std::move(subject)), fails_(fails), settings_(settings) {}

  Minified run() {
    cut_end();
    cut_beginning();
    bool smaller = true;
    while (smaller) {
      smaller = keep_one_output();
      smaller |= drop_calls();
    }
    return {std::move(current_), trials_};
  }

 private:
  bool exhausted() const {
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start_;
    return trials_ >= settings_.max_trials || spent.count() > settings_.max_seconds;
  }

  /// The part, if it can stand alone and still fails.
  std::optional<Subject> attempt(const Calls& calls, const Calls& outputs = {}) {
    if (calls.empty() || exhausted()) return std::nullopt;
    try {
      Subject part = extract(current_, calls, outputs);
      ++trials_;
      if (fails_(part)) return part;
    } catch (const Error&) {
      // Can't stand alone: not a candidate.
    }
    return std::nullopt;
  }

  bool take(std::optional<Subject> part) {
    if (!part) return false;
    current_ = std::move(*part);
    return true;
  }

  /// The shortest beginning of the graph that fails.
  void cut_end() {
    const Calls calls = calls_of(current_.graph);
    std::optional<Subject> best;
    std::size_t passes = 0;
    std::size_t fails = calls.size();
    while (fails - passes > 1) {
      const std::size_t middle = passes + (fails - passes) / 2;
      auto part = attempt({calls.begin(), calls.begin() + static_cast<std::ptrdiff_t>(middle)});
      (part ? fails : passes) = middle;
      if (part) best = std::move(part);
    }
    take(std::move(best));
  }

  /// The shortest end of the graph that fails.
  void cut_beginning() {
    const Calls calls = calls_of(current_.graph);
    std::optional<Subject> best;
    std::size_t fails = 0;
    std::size_t passes = calls.size();
    while (passes - fails > 1) {
      const std::size_t middle = fails + (passes - fails) / 2;
      auto part = attempt({calls.begin() + static_cast<std::ptrdiff_t>(middle), calls.end()},
                          outputs_of(current_.graph));
      (part ? fails : passes) = middle;
      if (part) best = std::move(part);
    }
    take(std::move(best));
  }

  static Calls outputs_of(const ir::Graph& graph) {
    Calls out;
    for (const ir::Node* node : ir::output_leaves(graph)) {
      if (node->kind() == ir::NodeKind::kCallFunction) out.push_back(node);
    }
    return out;
  }

  bool keep_one_output() {
    const Calls outputs = outputs_of(current_.graph);
    if (outputs.size() < 2) return false;
    for (const ir::Node* output : outputs) {
      if (take(attempt(calls_of(current_.graph), {output}))) return true;
    }
    return false;
  }

  /// Tries to do without each call, last first; those that read it get its value as an input.
  bool drop_calls() {
    bool smaller = false;
    for (std::size_t i = calls_of(current_.graph).size(); i-- > 0;) {
      Calls calls = calls_of(current_.graph);
      if (i >= calls.size() || calls.size() < 2) continue;
      const ir::Node* dropped = calls[i];
      Calls outputs = outputs_of(current_.graph);
      std::erase(outputs, dropped);
      calls.erase(calls.begin() + static_cast<std::ptrdiff_t>(i));
      smaller |= take(attempt(calls, outputs));
    }
    return smaller;
  }

  Subject current_;
  const Predicate& fails_;
  const MinifySettings& settings_;
  int trials_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

Minified minify(Subject subject, const Predicate& fails, const MinifySettings& settings) {
  return Minifier(std::move(subject), fails, settings).run();
}

}  // namespace monograph::inspect
