// Weights in a mapped file, whose bytes a trace leaves alone.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include "capture/import/mapped_file.h"

namespace monograph::trace {

/// While alive, traces of this thread don't read weights that lie in `file`, however large they
/// are: matrix products with them give zeros of the right shape, which a graph that can't depend on
/// data doesn't notice, and whether they were written is asked of the file. An importer opens one
/// around a trace of operators alone; host code could look at the zeros. Nests; not movable.
class MappedWeights {
 public:
  explicit MappedWeights(const importer::MappedFile& file);
  ~MappedWeights();
  MappedWeights(const MappedWeights&) = delete;
  MappedWeights& operator=(const MappedWeights&) = delete;

  /// The innermost one of this thread, or nullptr.
  static const MappedWeights* current() noexcept;

  bool hold(const c10::StorageImpl& storage) const;
  /// True if the memory of `storage`, which they hold, differs from the file.
  bool written(const c10::StorageImpl& storage) const;
  /// Replaces the arguments on the stack by zeros of the result's shape if `op` multiplies with a
  /// large weight of the file; false if it must run. Faulty calls run, too, and fail.
  bool skip(const c10::OperatorHandle& op, torch::jit::Stack* stack) const;

 private:
  const importer::MappedFile& file_;
  const MappedWeights* outer_;
};

}  // namespace monograph::trace
