#include "capture/import/safetensors_torch.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <monograph/error.h>

#include <cstring>
#include <utility>

#include "capture/import/safetensors_header.h"
#include "capture/trace/convert.h"

namespace monograph::importer {

at::Tensor read_tensor(const SafetensorsEntry& entry) {
  auto tensor =
      at::empty(entry.shape, at::TensorOptions().dtype(trace::scalar_type_of(entry.dtype)));
  if (!entry.data.empty()) {
    std::memcpy(tensor.mutable_data_ptr(), entry.data.data(), entry.data.size());
  }
  return tensor;
}

SafetensorsEntry entry_of(std::string name, const at::Tensor& tensor) {
  const auto refuse = [&](const std::string& why) {
    throw Error(Code::kInvalidArgument, fmt::format("tensor {}: {}; got {}", in_quotes(name), why,
                                                    trace::describe(tensor)));
  };
  if (!tensor.defined() || !tensor.device().is_cpu() || !tensor.is_contiguous()) {
    refuse("expected a dense row-major tensor on the CPU");
  }
  const auto dtype = trace::dtype_of(tensor.scalar_type());
  if (!dtype || safetensors_dtype_name(*dtype).empty()) {
    refuse("safetensors has no such element type");
  }
  return {std::move(name),
          *dtype,
          tensor.sizes().vec(),
          {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()}};
}

}  // namespace monograph::importer
