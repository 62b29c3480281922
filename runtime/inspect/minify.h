// Makes a failing graph small while it keeps failing.
#pragma once

#include <functional>

#include "runtime/inspect/extract.h"

namespace monograph::inspect {

/// True if the subject still shows the fault. Called many times; must not keep or change it.
using Predicate = std::function<bool(const Subject&)>;

struct MinifySettings {
  int max_trials = 600;      ///< calls of the predicate
  double max_seconds = 120;  ///< no new trial afterwards
};

struct Minified {
  Subject subject;
  int trials = 0;
};

/// Cuts what comes after the fault, then what comes before it, by bisection; then one output, then
/// one call at a time, until nothing more can go (delta debugging, A. Zeller; as torch.fx's
/// minifier does it). `subject` itself must satisfy `fails`; the result does, too.
Minified minify(Subject subject, const Predicate& fails, const MinifySettings& settings = {});

}  // namespace monograph::inspect
