#include "runtime/session/limits.h"

#include <fmt/format.h>

namespace monograph::session {
namespace {

std::atomic<std::int64_t>& all() {
  static std::atomic<std::int64_t> count = 0;
  return count;
}

}  // namespace

CompileCount::~CompileCount() {
  all().fetch_sub(count_.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

void CompileCount::add() noexcept {
  count_.fetch_add(1, std::memory_order_relaxed);
  all().fetch_add(1, std::memory_order_relaxed);
}

std::string CompileCount::beyond(std::int64_t per_module, std::int64_t total) const {
  if (count_.load(std::memory_order_relaxed) >= per_module) {
    return fmt::format("this module's limit of {} compilations", per_module);
  }
  if (of_all() >= total) return fmt::format("the limit of {} compilations of all modules", total);
  return {};
}

std::int64_t CompileCount::of_all() noexcept {
  return all().load(std::memory_order_relaxed);
}

}  // namespace monograph::session
