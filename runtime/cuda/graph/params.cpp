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

void ParamBlock::resolve(const KernelWork& work, const Ports& ports) {
  std::size_t next = 0;
  for (const ParamValue& p : work.params) {
    if (const auto* address = std::get_if<Address>(&p)) addresses_[next++] = ports.of(*address);
  }
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

namespace {

void launch_kernel(const Driver& driver, const KernelWork& k, ParamBlock& block, CUstream stream) {
  CUlaunchConfig config{};
  config.gridDimX = k.grid[0];
  config.gridDimY = k.grid[1];
  config.gridDimZ = k.grid[2];
  config.blockDimX = k.block[0];
  config.blockDimY = k.block[1];
  config.blockDimZ = k.block[2];
  config.sharedMemBytes = k.dynamic_shared_bytes;
  config.hStream = stream;
  driver.LaunchKernelEx(&config, k.kernel.function(), block.pointers(), nullptr);
}

}  // namespace

void enqueue(const Driver& driver, Work& work, ParamBlock* block, const Ports& ports,
             CUstream stream) {
  const NodeScope scope(work.node);
  if (auto* k = std::get_if<KernelWork>(&work.what)) {
    block->resolve(*k, ports);
    launch_kernel(driver, *k, *block, stream);
  } else if (const auto* c = std::get_if<CopyWork>(&work.what)) {
    driver.MemcpyDtoDAsync(ports.of(c->to), ports.of(c->from), c->bytes, stream);
  } else if (const auto* f = std::get_if<FillWork>(&work.what)) {
    driver.MemsetD8Async(ports.of(f->to), f->value, f->bytes, stream);
  } else if (auto* l = std::get_if<LibraryWork>(&work.what)) {
    l->call->enqueue(stream);
  }
}

}  // namespace monograph::cuda
