// How often modules with guards may compile.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace monograph::session {

/// One wrapper's share of the process's compilations; gives it back when it ends. Thread-safe.
class CompileCount {
 public:
  CompileCount() = default;
  ~CompileCount();
  CompileCount(const CompileCount&) = delete;
  CompileCount& operator=(const CompileCount&) = delete;

  void add() noexcept;
  /// Which limit one more would break: "this module's limit of 3 compilations"; empty if none.
  std::string beyond(std::int64_t per_module, std::int64_t total) const;
  /// Compilations of all wrappers alive.
  static std::int64_t of_all() noexcept;

 private:
  std::atomic<std::int64_t> count_ = 0;
};

}  // namespace monograph::session
