// Between safetensors entries and LibTorch tensors.
#pragma once

#include <ATen/core/TensorBody.h>

#include <string>

#include "capture/import/safetensors.h"

namespace monograph::importer {

/// A dense CPU tensor with a copy of the entry's bytes, independent of the file.
at::Tensor read_tensor(const SafetensorsEntry& entry);

/// `tensor`'s bytes as an entry to write. It must be dense, row-major and on the CPU, with a type
/// the format knows, else Error(kInvalidArgument); the entry lives no longer than its memory.
SafetensorsEntry entry_of(std::string name, const at::Tensor& tensor);

}  // namespace monograph::importer
