// Kernel parameters as the driver takes them: pointers to values that live somewhere.
#pragma once

#include <cstddef>
#include <vector>

#include "runtime/cuda/graph/plan_graph.h"
#include "runtime/cuda/graph/work.h"

namespace monograph::cuda {

/// Values of one kernel's parameters under given ports. Reusable without allocation.
class ParamBlock {
 public:
  explicit ParamBlock(const KernelWork& work);
  /// Writes the addresses for `ports`.
  void resolve(const KernelWork& work, const Ports& ports);
  void** pointers() noexcept { return pointers_.data(); }

 private:
  std::vector<CUdeviceptr> addresses_;  // one per address parameter
  std::vector<void*> pointers_;
};

/// Node parameters for `work`; `block` must stay alive while they are used.
CUDA_KERNEL_NODE_PARAMS_v2 kernel_node_params(const KernelWork& work, ParamBlock& block);
CUDA_MEMCPY3D copy_params(const CopyWork& work, const Ports& ports);
CUDA_MEMSET_NODE_PARAMS fill_params(const FillWork& work, const Ports& ports);

/// Enqueues `work` itself on `stream`; `block` is its parameters if it is a kernel.
void enqueue(const Driver& driver, Work& work, ParamBlock* block, const Ports& ports,
             CUstream stream);

}  // namespace monograph::cuda
