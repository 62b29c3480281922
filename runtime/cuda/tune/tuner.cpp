#include "runtime/cuda/tune/tuner.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <optional>

#include "runtime/base/log.h"

namespace monograph::cuda {
namespace {

std::optional<std::size_t> find_alternative(const TuningProblem& problem, const std::string& name) {
  const auto at = std::ranges::find(problem.alternatives, name, &Alternative::name);
  if (at == problem.alternatives.end()) return std::nullopt;
  return static_cast<std::size_t>(at - problem.alternatives.begin());
}

std::string describe(const TuningEntry& entry, std::size_t alternatives) {
  std::string s = fmt::format("{} of {} timed, {:.2f} us", entry.timed.size(), alternatives,
                              entry.timed.front().microseconds);
  if (entry.timed.size() > 1) s += fmt::format(", next {:.2f}", entry.timed[1].microseconds);
  return s;
}

}  // namespace

std::string key_on(const Context& context, const std::string& problem) {
  const DeviceInfo& d = context.info();
  return fmt::format("{}; {} sm_{}{} x{}; driver {}", problem, d.name, d.major, d.minor,
                     d.multiprocessors, context.driver().version());
}

Tuner::Tuner(ContextRef context, Settings settings)
    : context_(std::move(context)),
      settings_(std::move(settings)),
      cache_(settings_.on ? settings_.directory : "none") {}

std::string Tuner::full_key(const TuningProblem& problem) const {
  return key_on(*context_, problem.key + "; " + problem.maker);
}

TuningChoice Tuner::choose(const TuningProblem& problem) {
  if (problem.alternatives.empty()) {
    throw Error(Code::kInternal, "nothing to choose from for " + problem.key);
  }
  if (problem.alternatives.size() == 1) return {0, 0, false, "the only one"};
  if (!settings_.on) return {0, 0, false, "untimed: tuning is off"};
  const std::string key = full_key(problem);
  const std::lock_guard lock(mutex_);
  if (const auto entry = cache_.find(key)) {
    if (const auto index = find_alternative(problem, entry->winner())) {
      return {*index, entry->timed.front().microseconds, true,
              describe(*entry, problem.alternatives.size()) + ", remembered"};
    }
  }
  try {
    return time(problem, key);
  } catch (const Error& e) {
    if (e.code() != Code::kDeviceOutOfMemory) throw;
    base::log(base::LogLevel::kWarning,
              fmt::format("no memory to time kernels for {}: {}", problem.key, e.what()));
    return {0, 0, false, "untimed: no memory for it"};
  }
}

TuningChoice Tuner::time(const TuningProblem& problem, const std::string& key) {
  const Stopwatch watch = settings_.stopwatch ? settings_.stopwatch : event_stopwatch(context_);
  const std::vector<Timing> timings =
      time_alternatives(context_, problem.operands, problem.alternatives, watch, settings_.limits);
  TuningEntry entry;
  std::string errors;
  for (const Timing& t : timings) {
    if (t.error.empty()) {
      entry.timed.push_back({t.name, t.microseconds});
    } else {
      errors += fmt::format("; {}: {}", t.name, t.error);
    }
  }
  if (entry.timed.empty()) {
    base::log(base::LogLevel::kWarning, fmt::format("none of {} kernels for {} could be timed{}",
                                                    timings.size(), problem.key, errors));
    return {0, 0, false, "untimed: none could be"};
  }
  std::ranges::stable_sort(entry.timed, {}, &TuningEntry::Timed::microseconds);
  cache_.store(key, entry);
  return {*find_alternative(problem, entry.winner()), entry.timed.front().microseconds, false,
          describe(entry, timings.size())};
}

}  // namespace monograph::cuda
