// Finds what makes a replay's results differ from those of forward, and cuts it out.
#pragma once

#include <monograph/options.h>
#include <monograph/program.h>

#include <optional>
#include <string>
#include <vector>

#include "runtime/inspect/compare.h"
#include "runtime/inspect/minify.h"

namespace monograph::inspect {

struct BisectSettings {
  Tolerance tolerance;
  MinifySettings minify;
};

/// Where the fault is. `reproducer` is what is left of the graph: for a pass, what goes into it;
/// for the back end, what is built and replayed.
struct Finding {
  enum class Where : std::uint8_t {
    kNowhere,  ///< everything agrees
    kTrace,    ///< the recorded graph, run operator by operator, differs from forward
    kPass,     ///< the graph after `pass` differs from the one before it
    kBackend,  ///< the final graph is right, its replay isn't
  };
  Where where = Where::kNowhere;
  std::string pass;               ///< for kPass: its name
  std::size_t number = 0;         ///< for kPass: its place in the pipeline, from 0
  std::string backend;            ///< for kBackend
  std::string message;            ///< the first difference, or what was thrown
  std::size_t calls = 0;          ///< in the graph at fault, before it was made small
  int trials = 0;                 ///< runs that making it small took
  Subject reproducer;             ///< empty graph for kNowhere
  std::string to_string() const;  ///< a paragraph, and the reproducer's graph
};

/// Traces `module` on `inputs` and looks for the first stage whose results differ from forward's:
/// the trace, each pass, then the replay on `options.backend` (twice, so that what a first replay
/// leaves behind shows). Throws as Program::trace does, RejectedError for a refused module.
Finding bisect(const Module& module, const std::vector<at::Tensor>& inputs, const Options& options,
               const BisectSettings& settings = {});

/// The same for a graph with its weights and inputs, against `expected`, or against the reference
/// interpreter on the graph as it is.
Finding bisect(const Subject& subject, const Options& options, const BisectSettings& settings = {},
               const std::optional<std::vector<at::Tensor>>& expected = std::nullopt);

}  // namespace monograph::inspect
