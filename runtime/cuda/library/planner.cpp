#include "runtime/cuda/library/planner.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/log.h"
#include "runtime/cuda/library/trial.h"

namespace monograph::cuda {
namespace {

/// Weights are streamed in; everything else has just been made, or is made here.
std::vector<Operand> operands_of(const LibraryProblem& problem,
                                 const std::vector<LibraryWay>& ways) {
  std::vector<Operand> operands;
  for (const std::int64_t bytes : operand_bytes(problem)) {
    operands.push_back({static_cast<std::size_t>(bytes), Operand::Role::kWarm});
  }
  const auto* product = std::get_if<MatmulProblem>(&problem);
  if (product == nullptr || product->constant_b) operands[kSecond].role = Operand::Role::kCold;
  std::int64_t workspace = 0;
  for (const LibraryWay& w : ways) workspace = std::max(workspace, w.workspace_bytes);
  operands.push_back({static_cast<std::size_t>(workspace), Operand::Role::kWarm});
  return operands;
}

}  // namespace

const LibraryPlan& LibraryPlanner::plan(const LibraryProblem& problem) {
  std::string key = text(problem);
  const std::lock_guard lock(mutex_);
  const auto known = plans_.find(key);
  if (known != plans_.end()) return known->second;
  const CurrentContext current(*context_);
  if (!opened_) {
    libraries_ = open_math_libraries(context_);
    opened_ = true;
  }
  LibraryPlan made = make(problem, key);
  return plans_.emplace(std::move(key), std::move(made)).first->second;
}

LibraryPlan LibraryPlanner::make(const LibraryProblem& problem, const std::string& key) {
  LibraryPlan plan;
  plan.reason = "no library for it here";
  const auto at = std::ranges::find_if(
      libraries_, [&problem](const auto& library) { return library->takes(problem); });
  if (at == libraries_.end()) return plan;
  const std::vector<LibraryWay> ways = (*at)->ways(problem, &plan.reason);
  if (ways.empty()) return plan;
  TuningProblem tuning{
      key, fmt::format("{} {}", (*at)->name(), (*at)->version()), operands_of(problem, ways), {}};
  for (const LibraryWay& way : ways) {
    tuning.alternatives.push_back(
        {way.name, [&library = **at, &problem, &way](std::span<const CUdeviceptr> addresses) {
           LibraryAddresses on;
           std::copy_n(addresses.begin(), kOperands, on.operands.begin());
           on.workspace = addresses[kOperands];
           return Work{-1, way.name, LibraryWork{library.bind(problem, way, on)}};
         }});
  }
  const TuningChoice choice = tuner_->choose(tuning);
  if (tries_) {
    const std::string wrong = trial(context_, **at, problem, ways[choice.index]);
    if (!wrong.empty()) {
      plan.reason = fmt::format("{} ({}): {}", (*at)->name(), ways[choice.index].name, wrong);
      base::log(base::LogLevel::kWarning, fmt::format("not used for {}: {}", key, plan.reason));
      return plan;
    }
  }
  plan.library = *at;
  plan.way = ways[choice.index];
  plan.microseconds = choice.microseconds;
  plan.reason = fmt::format("{} ({}; {})", (*at)->name(), plan.way.name, choice.reason);
  return plan;
}

}  // namespace monograph::cuda
