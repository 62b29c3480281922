#include "bench/models/zoo/build.h"

#include <set>

namespace monograph::bench {

void place(torch::nn::Module& module, const ModelOptions& options) {
  const auto move = [&options](at::Tensor& tensor) {
    const auto dtype = tensor.is_floating_point() ? options.dtype : tensor.scalar_type();
    tensor.set_data(tensor.to(options.device, dtype));
  };
  for (auto& parameter : module.parameters()) move(parameter);
  for (auto& buffer : module.buffers()) move(buffer);
}

double weight_bytes(const torch::nn::Module& module) {
  std::set<const void*> seen;
  double bytes = 0;
  for (const auto& tensor : module.parameters()) {
    if (seen.insert(tensor.storage().data()).second) bytes += static_cast<double>(tensor.nbytes());
  }
  return bytes;
}

}  // namespace monograph::bench
