// What other threads do while a forward is traced.
#pragma once

#include <ATen/core/TensorBody.h>

#include <optional>
#include <string>

namespace monograph::trace {

/// While alive, every operator call of every other thread is noted with the memory it was given and
/// gave. Most of it is none of the trace's business; what touches memory that only the traced
/// forward can have handed out is. Costs nothing when no trace runs: the observer is off then.
/// One at a time per process.
class ForeignWork {
 public:
  ForeignWork();
  ~ForeignWork();
  ForeignWork(const ForeignWork&) = delete;
  ForeignWork& operator=(const ForeignWork&) = delete;

  /// The first operator by which another thread read, wrote or made the storage; nullopt if none
  /// did.
  std::optional<std::string> touched(const c10::StorageImpl* storage) const;
  /// The operator by which another thread made it since; nullopt if it only used it.
  std::optional<std::string> made(const c10::StorageImpl* storage) const;
};

/// True while the tracing thread runs an operator's kernel, whose own worker threads may call
/// operators.
class KernelScope {
 public:
  KernelScope() noexcept;
  ~KernelScope();
  KernelScope(const KernelScope&) = delete;
  KernelScope& operator=(const KernelScope&) = delete;
};

}  // namespace monograph::trace
