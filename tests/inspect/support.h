// Recorded forwards with their weights and inputs, before any pass.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "capture/trace/tracer.h"
#include "runtime/inspect/extract.h"
#include "tests/host/support.h"

namespace monograph::inspect {

inline Subject record(const std::function<test::Tensors(const test::Tensors&)>& forward,
                      const test::Tensors& inputs, std::vector<NamedTensor> tensors = {}) {
  Module module;
  module.forward = forward;
  module.tensors = std::move(tensors);
  auto outcome = trace::record(module, inputs, "subject");
  auto& recording = std::get<trace::Recording>(outcome);
  return {std::move(recording.graph), std::move(recording.weights), inputs};
}

}  // namespace monograph::inspect
