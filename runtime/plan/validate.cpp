#include <monograph/error.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "runtime/plan/internal.h"

namespace monograph::plan {
namespace {

[[noreturn]] void refuse(const std::string& message, const std::string& node = {}) {
  throw Error(Code::kInvalidGraph, "plan: " + message, node);
}

/// Slots of one kind must be 0, 1, 2, ... in some order.
void check_slots(const Problem& problem, BufferKind kind) {
  const auto is_kind = [kind](const Buffer& b) { return b.kind == kind; };
  const auto count = std::count_if(problem.buffers.begin(), problem.buffers.end(), is_kind);
  std::vector<bool> taken(static_cast<std::size_t>(count), false);
  for (const Buffer& b : problem.buffers) {
    if (!is_kind(b)) continue;
    if (b.slot < 0 || b.slot >= count) {
      refuse(describe(b) + " has slot " + std::to_string(b.slot) + " but there are " +
             std::to_string(count) + " " + std::string(buffer_kind_name(kind)) + " buffers");
    }
    if (taken[static_cast<std::size_t>(b.slot)]) {
      refuse(describe(b) + " has slot " + std::to_string(b.slot) + ", which is taken");
    }
    taken[static_cast<std::size_t>(b.slot)] = true;
  }
}

/// The sum of everything that could ever be placed, so that later sums can't overflow.
class ByteBudget {
 public:
  void add(std::int64_t bytes, const std::string& what, const std::string& node = {}) {
    if (bytes < 0) refuse(what + " has a negative size " + std::to_string(bytes), node);
    if (bytes > kLimit - total_) refuse(what + " exceeds the 64-bit address space", node);
    total_ += round_up(bytes);
  }

 private:
  static constexpr std::int64_t kLimit = std::numeric_limits<std::int64_t>::max() / 4;
  std::int64_t total_ = 0;
};

void check_buffers(const Problem& problem, ByteBudget& budget) {
  for (std::size_t i = 0; i < problem.buffers.size(); ++i) {
    const Buffer& b = problem.buffers[i];
    if (b.id != static_cast<BufferId>(i)) {
      refuse(describe(b) + " is at position " + std::to_string(i));
    }
    budget.add(b.bytes, describe(b));
    const bool has_slot = b.kind == BufferKind::kInput || b.kind == BufferKind::kOutput;
    if (!has_slot && b.slot != -1) refuse(describe(b) + " is no input or output but has a slot");
  }
  check_slots(problem, BufferKind::kInput);
  check_slots(problem, BufferKind::kOutput);
}

void check_ids(const Problem& problem, const Launch& launch, const std::vector<BufferId>& ids,
               const char* verb) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= problem.buffers.size()) {
      refuse(std::string(verb) + " buffer " + std::to_string(ids[i]) + ", which doesn't exist",
             launch.name);
    }
    if (i > 0 && ids[i] <= ids[i - 1]) {
      refuse(std::string(verb) + " buffers that aren't distinct and ascending", launch.name);
    }
  }
}

bool writable(BufferKind kind) {
  return kind != BufferKind::kInput && kind != BufferKind::kWeight;
}

bool needs_writer(BufferKind kind) {
  return kind == BufferKind::kIntermediate || kind == BufferKind::kOutput;
}

}  // namespace

std::string describe(const Buffer& buffer) {
  std::string s = "buffer " + std::to_string(buffer.id);
  if (!buffer.name.empty()) s += " '" + buffer.name + "'";
  return s;
}

void validate(const Problem& problem) {
  ByteBudget budget;
  check_buffers(problem, budget);
  std::vector<bool> written(problem.buffers.size(), false);
  for (std::size_t i = 0; i < problem.launches.size(); ++i) {
    const Launch& launch = problem.launches[i];
    if (launch.id != static_cast<LaunchId>(i)) {
      refuse("launch " + std::to_string(launch.id) + " is at position " + std::to_string(i),
             launch.name);
    }
    check_ids(problem, launch, launch.reads, "reads");
    check_ids(problem, launch, launch.writes, "writes");
    budget.add(launch.workspace_bytes, "the workspace", launch.name);
    for (const BufferId id : launch.reads) {
      const Buffer& b = problem.buffers[static_cast<std::size_t>(id)];
      if (needs_writer(b.kind) && !written[static_cast<std::size_t>(id)]) {
        refuse("reads " + describe(b) + ", which nothing wrote before", launch.name);
      }
    }
    for (const BufferId id : launch.writes) {
      const Buffer& b = problem.buffers[static_cast<std::size_t>(id)];
      if (!writable(b.kind)) {
        refuse(
            "writes " + describe(b) + ", which is of kind " + std::string(buffer_kind_name(b.kind)),
            launch.name);
      }
      written[static_cast<std::size_t>(id)] = true;
    }
  }
  for (const Buffer& b : problem.buffers) {
    if (b.kind == BufferKind::kOutput && !written[static_cast<std::size_t>(b.id)]) {
      refuse(describe(b) + " is output " + std::to_string(b.slot) + " but nothing writes it");
    }
  }
}

}  // namespace monograph::plan
