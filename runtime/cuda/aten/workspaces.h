// LibTorch's cuBLAS workspaces, which captured calls go on using at every replay.
#pragma once

#include <ATen/core/Tensor.h>
#include <cuda_runtime_api.h>

#include <map>

#include "runtime/cuda/backend/provider.h"

namespace monograph::cuda {

/// LibTorch keeps a workspace for each handle and stream, for good, and a captured call keeps its
/// address. The stream of a capture is gone when the graph is replayed, and another may get its
/// handle: whatever runs there would then write into the workspace of a graph at work. So the
/// workspaces that captures use are taken out of LibTorch's table, belong to the session, and are
/// in the table only while its calls are captured. One capture runs at a time in a process.
class Workspaces final : public AtenShared {
 public:
  /// From now on LibTorch finds the session's workspaces for `stream`, if it has any yet.
  void lend(cudaStream_t stream);
  /// LibTorch has none for `stream` any more; those that it had are the session's.
  void take(cudaStream_t stream) noexcept;

 private:
  using ByHandle = std::map<void*, at::DataPtr>;
  ByHandle blas_, blas_lt_;
};

}  // namespace monograph::cuda
