#include "runtime/cuda/graph/params.h"

namespace monograph::cuda {

ParamBlock::ParamBlock(const KernelWork& work) {
  std::size_t count = 0;
  for (const ParamValue& p : work.params) count += std::holds_alternative<Address>(p) ? 1 : 0;
  addresses_.resize(count);
  pointers_.reserve(work.params.size());
  std::size_t next = 0;
  for (const ParamValue& p : work.params) {
    if (std::holds_alternative<Address>(p)) {
      pointers_.push_back(&addresses_[next++]);
    } else {
      // The driver copies parameters and never writes them.
      pointers_.push_back(
          const_cast<std::byte*>(std::get<std::vector<std::byte>>(p).data()));  // NOLINT
    }
  }
}

bool ParamBlock::resolve(const KernelWork& work, const Ports& ports) {
  bool changed = false;
  std::size_t next = 0;
  for (const ParamValue& p : work.params) {
    const auto* address = std::get_if<Address>(&p);
    if (address == nullptr) continue;
    CUdeviceptr& slot = addresses_[next++];
    const CUdeviceptr now = ports.of(*address);
    changed |= slot != now;
    slot = now;
  }
  return changed;
}

CUDA_KERNEL_NODE_PARAMS_v2 kernel_node_params(const KernelWork& work, ParamBlock& block) {
  CUDA_KERNEL_NODE_PARAMS_v2 p{};
  p.func = work.kernel.function();
  p.gridDimX = work.grid[0];
  p.gridDimY = work.grid[1];
  p.gridDimZ = work.grid[2];
  p.blockDimX = work.block[0];
  p.blockDimY = work.block[1];
  p.blockDimZ = work.block[2];
  p.sharedMemBytes = work.dynamic_shared_bytes;
  p.kernelParams = block.pointers();
  return p;
}

CUDA_MEMCPY3D copy_params(const CopyWork& work, const Ports& ports) {
  CUDA_MEMCPY3D c{};
  c.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  c.srcDevice = ports.of(work.from);
  c.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  c.dstDevice = ports.of(work.to);
  c.WidthInBytes = work.bytes;
  c.Height = 1;
  c.Depth = 1;
  return c;
}

CUDA_MEMSET_NODE_PARAMS fill_params(const FillWork& work, const Ports& ports) {
  CUDA_MEMSET_NODE_PARAMS m{};
  m.dst = ports.of(work.to);
  m.value = work.value;
  m.elementSize = 1;
  m.width = work.bytes;
  m.height = 1;
  return m;
}

}  // namespace monograph::cuda
