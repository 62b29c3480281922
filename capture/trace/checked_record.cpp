// A trace with its second forward.
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <monograph/error.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "capture/ir/text.h"
#include "capture/trace/compare.h"
#include "capture/trace/convert.h"
#include "capture/trace/dispatch_key.h"
#include "capture/trace/forward_run.h"
#include "capture/trace/inputs.h"
#include "capture/trace/redraw.h"
#include "capture/trace/reject.h"
#include "capture/trace/tracer.h"
#include "runtime/base/log.h"

namespace monograph::trace {
namespace {

using Outcome = std::variant<Recording, Rejection>;
using Keep = ForwardRuns::Keep;

std::optional<Rejection> refused_before_running(const Module& module,
                                                const std::vector<at::Tensor>& inputs) {
  check_module(module);
  check_inputs(module, inputs);
  (void)input_names(module, inputs.size());
  if (!module.training_modules.empty()) return training_rejection(module.training_modules);
  return overlapping_inputs(module, inputs);
}

void log_recording(const std::string& name, const Recording& recording) {
  if (!base::log_enabled(base::LogLevel::kInfo)) return;
  base::log(base::LogLevel::kInfo,
            "traced '" + name + "': " + std::to_string(recording.graph.size()) + " nodes in " +
                std::to_string(recording.milliseconds) + " ms");
}

/// The trace of one forward, and what another one shows about it.
class CheckedTrace {
 public:
  CheckedTrace(const Module& module, const std::vector<at::Tensor>& inputs, const Options& options)
      : options_(options), runs_(module, inputs, options) {}

  Outcome run() {
    if (options_.guard_weights) {
      if (auto stray = runs_.run_guarded()) return std::move(*stray);
    }
    Outcome first =
        runs_.run(runs_.inputs(), options_.check_twice ? Keep::kResults : Keep::kNothing);
    if (std::holds_alternative<Rejection>(first)) return first;
    auto& a = std::get<Recording>(first);
    log_recording(options_.name, a);
    Outcome second = options_.check_twice ? on_other_data() : Outcome(Rejection());
    // One pass over the weights for both forwards; it has the word before any other reason.
    if (auto written = runs_.written_weights()) return std::move(*written);
    if (!options_.check_twice) return first;
    if (std::holds_alternative<Rejection>(second)) return second;
    auto& b = std::get<Recording>(second);
    if (auto kept = kept_tensor(a, b)) return std::move(*kept);
    const auto difference = compare(a, b);
    if (!difference) {
      a.survivors.clear();
      return first;
    }
    if (difference->written) return host_write(*difference, a);
    return settle(a, b, *difference);
  }

 private:
  /// Forward on other data. If it can't run on that, on data that differs less.
  Outcome on_other_data() {
    if (options_.probe_inputs) return runs_.run(probed());
    for (const Redraw what : {Redraw::kAll, Redraw::kFloats}) {
      std::string why = "it threw something that is no std::exception";
      try {
        return runs_.run(redraw(runs_.inputs(), what));
      } catch (const std::exception& e) {
        why = e.what();
      } catch (...) {  // NOLINT: reported below
      }
      base::log(base::LogLevel::kDebug,
                "forward fails on redrawn inputs, tried again with less: " + why);
    }
    return runs_.run(runs_.inputs());
  }

  std::vector<at::Tensor> probed() const {
    std::vector<at::Tensor> inputs = options_.probe_inputs(runs_.inputs());
    const auto refuse = [](const std::string& what) -> void {
      throw Error(Code::kInvalidOption, "probe_inputs: " + what);
    };
    if (inputs.size() != runs_.inputs().size()) {
      refuse("expected " + std::to_string(runs_.inputs().size()) + " tensors, got " +
             std::to_string(inputs.size()));
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const at::Tensor& want = runs_.inputs()[i];
      const bool fits = inputs[i].defined() && inputs[i].sizes() == want.sizes() &&
                        inputs[i].strides() == want.strides() &&
                        inputs[i].dtype() == want.dtype() && inputs[i].device() == want.device();
      if (!fits) {
        refuse("tensor " + std::to_string(i) + ": expected " + describe(want) + ", got " +
               describe(inputs[i]));
      }
    }
    return inputs;
  }

  /// A tensor made by forward that is still there afterwards: some member points to it now.
  /// Something built by the first forward for all later ones is fine if no input went into it.
  std::optional<Rejection> kept_tensor(const Recording& a, const Recording& b) const {
    const Survivor* kept = b.survivors.empty() ? nullptr : &b.survivors.front();
    for (const Survivor& s : a.survivors) {
      if (kept == nullptr && s.provenance == Provenance::kRun) kept = &s;
    }
    if (kept == nullptr) return std::nullopt;
    const auto [subject, line] = member_of(a, b);
    Rejection rejection;
    rejection.code = Code::kRejectedRebinding;
    rejection.op = kept->op;
    rejection.node = kept->node;
    rejection.subject = subject.empty() ? "%" + kept->node : subject;
    rejection.reason = "after forward " +
                       (subject.empty() ? "something outside of it" : "'" + subject + "'") +
                       " is the tensor that %" + kept->node + " (" + kept->op +
                       ") made: a replay runs no host code, so it would go on reading what was "
                       "there while tracing";
    rejection.remedy =
        "return the new tensor and pass it back in with the next call, or write it into a tensor "
        "declared in Options::mutable_state";
    const Recording& where = b.survivors.empty() ? a : b;
    if (const ir::Node* node = where.graph.find(kept->node)) {
      rejection.module_path = node->module_path;
      rejection.excerpt = excerpt(where.graph, node);
    }
    return rejection;
  }

  /// What the first recording read where the second reads a tensor that the first made.
  static std::pair<std::string, std::string> member_of(const Recording& a, const Recording& b) {
    const auto made_by_a = [&a](const at::Tensor& tensor) {
      for (const Survivor& s : a.survivors) {
        const auto storage = s.storage.lock();
        if (storage && tensor.storage().unsafeGetStorageImpl() == storage.get()) return true;
      }
      return false;
    };
    const auto get_attrs = [](const ir::Graph& graph) {
      std::vector<const ir::Node*> nodes;
      for (const auto& node : graph.nodes()) {
        if (node->kind() == ir::NodeKind::kGetAttr) nodes.push_back(node.get());
      }
      return nodes;
    };
    const auto of_a = get_attrs(a.graph);
    const auto of_b = get_attrs(b.graph);
    for (std::size_t i = 0; i < of_b.size() && i < of_a.size(); ++i) {
      if (made_by_a(b.weights.at(of_b[i]->target()))) return {of_a[i]->target(), ""};
    }
    return {};
  }

  static Rejection host_write(const Difference& d, const Recording& a) {
    Rejection rejection;
    rejection.code = Code::kRejectedMutation;
    rejection.node = d.node;
    rejection.subject = d.subject;
    rejection.module_path = d.path;
    rejection.reason =
        "from one forward to the next host code writes the memory of '" + d.subject +
        "', a tensor made outside of forward, by a pointer that no operator shows: a "
        "replay runs no host code and wouldn't do it";
    rejection.remedy =
        "write with an operator and declare the tensor in Options::mutable_state, or do it outside "
        "of forward";
    if (const ir::Node* node = a.graph.find(d.node)) rejection.excerpt = excerpt(a.graph, node);
    return rejection;
  }

  /// `a` and `b` differ: because of the data, because of something that changes by itself, or
  /// because the first forward built what the others find.
  Outcome settle(Recording& a, Recording& b, const Difference& first) {
    Outcome third = runs_.run(runs_.inputs(), Keep::kResults);
    if (std::holds_alternative<Rejection>(third)) return third;
    auto& c = std::get<Recording>(third);
    const auto steady = compare(b, c);
    if (!steady) {
      if (auto kept = kept_tensor(b, c)) return std::move(*kept);
      if (const std::string what = first_differs(a, c); !what.empty()) {
        return refuse_first(a, first, what);
      }
      return third;
    }
    Outcome fourth = runs_.run(runs_.inputs());
    if (std::holds_alternative<Rejection>(fourth)) return fourth;
    const auto again = compare(c, std::get<Recording>(fourth));
    const bool by_itself = again.has_value();
    return refuse(a, by_itself ? *again : first, by_itself, by_itself ? c : a);
  }

  /// What the first forward gave and a later one on the same data doesn't: "output 0", "state
  /// 'count'"; empty if all is alike. Building something once leaves no trace there.
  static std::string first_differs(const Recording& a, const Recording& c) {
    for (std::size_t i = 0; i < std::max(a.outputs.size(), c.outputs.size()); ++i) {
      const bool both = i < a.outputs.size() && i < c.outputs.size();
      if (!both || !alike(a.outputs[i], c.outputs[i])) return "output " + std::to_string(i);
    }
    const auto unlike = [](const std::vector<StateSum>& written,
                           const std::vector<StateSum>& others) {
      return std::any_of(written.begin(), written.end(), [&others](const StateSum& s) {
        const auto other = std::find_if(others.begin(), others.end(), [&s](const StateSum& o) {
          return o.bytes.is_alias_of(s.bytes);
        });
        // What the other one didn't write is there as it was.
        return s.sum != (other == others.end() ? sums_of({s.bytes}).front() : other->sum);
      });
    };
    return unlike(a.states, c.states) || unlike(c.states, a.states) ? "the state that it leaves"
                                                                    : "";
  }

  static bool alike(const at::Tensor& a, const at::Tensor& b) {
    const RecordingPause pause;
    if (a.sizes() != b.sizes() || a.dtype() != b.dtype() || a.device() != b.device()) return false;
    if (!a.is_floating_point() && !a.is_complex()) return at::equal(a, b);
    constexpr double kRelative = 1e-3;
    constexpr double kAbsolute = 1e-5;
    return at::allclose(a, b, kRelative, kAbsolute, /*equal_nan=*/true);
  }

  static Rejection refuse_first(const Recording& a, const Difference& d, const std::string& what) {
    Rejection rejection = refuse(a, d, /*by_itself=*/true, a);
    rejection.code = Code::kRejectedDivergence;
    rejection.reason = "the first forward differs from later ones in " + what + ": first\n  " +
                       d.first + "\nand from then on\n  " + d.second +
                       "\nA replay would never give what the first call gives";
    rejection.remedy =
        "call forward once before it is captured, or let its first call compute what later ones do";
    return rejection;
  }

  static Rejection refuse(const Recording&, const Difference& d, bool by_itself,
                          const Recording& shown) {
    Rejection rejection;
    rejection.code = d.replaced  ? Code::kRejectedRebinding
                     : by_itself ? Code::kRejectedDivergence
                                 : Code::kRejectedDataDependence;
    rejection.op = d.op;
    rejection.node = d.node;
    rejection.module_path = d.path;
    rejection.subject = d.subject;
    const std::string why = by_itself ? "two forwards on the same data" : "forwards on other data";
    if (d.replaced) {
      rejection.reason = "'" + d.subject +
                         "' is another tensor from one forward to the next: a "
                         "replay would go on reading the one that it had while tracing";
    } else if (d.constant) {
      rejection.reason = "'" + d.subject + "' holds other values in " + why +
                         ": forward computes it on the host, and a replay would freeze what was "
                         "seen while tracing";
    } else {
      rejection.reason = why + " differ: once\n  " + d.first + "\nand once\n  " + d.second +
                         "\nA replay would repeat the first for ever";
    }
    rejection.remedy =
        by_itself ? "make what decides (a counter, the time, the environment) an input, or a "
                    "constant of the module"
                  : "keep the decision in tensors (where, masked_fill, index_select), or compute "
                    "the value outside of forward and pass it in";
    if (const ir::Node* node = shown.graph.find(d.node)) {
      rejection.excerpt = excerpt(shown.graph, node);
    }
    return rejection;
  }

  const Options& options_;
  ForwardRuns runs_;
};

}  // namespace

Outcome record(const Module& module, const std::vector<at::Tensor>& inputs,
               const std::string& name) {
  if (auto refused = refused_before_running(module, inputs)) return std::move(*refused);
  Options options;
  options.name = name;
  ForwardRuns runs(module, inputs, options);
  Outcome outcome = runs.run(inputs);
  if (std::holds_alternative<Rejection>(outcome)) return outcome;
  if (auto written = runs.written_weights()) return std::move(*written);
  return outcome;
}

Outcome checked_record(const Module& module, const std::vector<at::Tensor>& inputs,
                       const Options& options) {
  if (auto refused = refused_before_running(module, inputs)) return std::move(*refused);
  return CheckedTrace(module, inputs, options).run();
}

}  // namespace monograph::trace
