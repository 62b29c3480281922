#include "bench/models/zoo/build.h"

#include <set>

namespace monograph::bench {

double weight_bytes(const torch::nn::Module& module) {
  std::set<const void*> seen;
  double bytes = 0;
  for (const auto& tensor : module.parameters()) {
    if (seen.insert(tensor.storage().data()).second) bytes += static_cast<double>(tensor.nbytes());
  }
  return bytes;
}

}  // namespace monograph::bench
