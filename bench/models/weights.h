// Fills a module from a safetensors file by fully qualified names.
#pragma once

#include <torch/nn/module.h>

#include <string>
#include <vector>

#include "capture/import/safetensors.h"

namespace monograph::bench {

/// Copies every parameter and buffer of `module` from the entry of the same name. Nothing is
/// changed unless everything fits: Error(kInvalidFile) lists all that is missing, superfluous
/// (entries whose name begins with one of `unused` are not) or of another shape or type.
void load_weights(torch::nn::Module& module, const importer::SafetensorsFile& file,
                  const std::vector<std::string>& unused = {});

}  // namespace monograph::bench
