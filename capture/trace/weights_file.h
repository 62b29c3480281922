// Weights of a program as a safetensors file.
#pragma once

#include <monograph/program.h>

#include <filesystem>
#include <vector>

namespace monograph::trace {

/// Writes `weights` dense and row-major, whatever their strides and device, in one step: readers
/// see no file or all of it. Error(kInvalidFile) if that can't be done.
void write_weights(const std::filesystem::path& path, const std::vector<NamedTensor>& weights);

}  // namespace monograph::trace
