#include "runtime/cuda/aten/workspaces.h"

#include <ATen/cuda/CUDAContextLight.h>

#include <mutex>
#include <tuple>
#include <utility>

namespace monograph::cuda {
namespace {

using at::cuda::WorkspaceMapWithMutex;

void put(WorkspaceMapWithMutex& table, std::map<void*, at::DataPtr>& from, cudaStream_t stream) {
  const std::unique_lock lock(table.mutex);
  for (auto& [handle, workspace] : from) {
    std::swap(table.map[{handle, stream}], workspace);  // what warming up has made is freed below
  }
}

void get(WorkspaceMapWithMutex& table, std::map<void*, at::DataPtr>& to, cudaStream_t stream) {
  const std::unique_lock lock(table.mutex);
  for (auto it = table.map.begin(); it != table.map.end();) {
    if (std::get<1>(it->first) != stream) {
      ++it;
      continue;
    }
    to[std::get<0>(it->first)] = std::move(it->second);
    it = table.map.erase(it);
  }
}

}  // namespace

void Workspaces::lend(cudaStream_t stream) {
  put(at::cuda::cublas_handle_stream_to_workspace(), blas_, stream);
  put(at::cuda::cublaslt_handle_stream_to_workspace(), blas_lt_, stream);
  blas_.clear();
  blas_lt_.clear();
}

void Workspaces::take(cudaStream_t stream) noexcept {
  get(at::cuda::cublas_handle_stream_to_workspace(), blas_, stream);
  get(at::cuda::cublaslt_handle_stream_to_workspace(), blas_lt_, stream);
}

}  // namespace monograph::cuda
