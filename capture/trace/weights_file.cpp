#include "capture/trace/weights_file.h"

#include <c10/core/InferenceMode.h>

#include "capture/import/safetensors.h"
#include "capture/trace/convert.h"

namespace monograph::trace {

void write_weights(const std::filesystem::path& path, const std::vector<NamedTensor>& weights) {
  const c10::InferenceMode inference;
  std::vector<at::Tensor> held;  // what the entries point into
  std::vector<importer::SafetensorsEntry> entries;
  held.reserve(weights.size());
  for (const NamedTensor& weight : weights) {
    held.push_back(weight.tensor.cpu().contiguous());
    const at::Tensor& dense = held.back();
    importer::SafetensorsEntry entry;
    entry.name = weight.name;
    entry.dtype = dtype_of(dense.scalar_type()).value();
    entry.shape = dense.sizes().vec();
    entry.data = {static_cast<const std::byte*>(dense.const_data_ptr()), dense.nbytes()};
    entries.push_back(std::move(entry));
  }
  importer::write_safetensors(path, std::move(entries));
}

}  // namespace monograph::trace
