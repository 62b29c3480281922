// Nested arguments as PyTorch writes their structure down ("pytree" specs). No torch.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace monograph::importer {

/// Where each leaf of `spec` (a TreeSpec in JSON, version 1) stands, in order: "[0]['mask']".
/// `where` begins messages. Error(kInvalidFile) for anything malformed.
std::vector<std::string> pytree_leaves(std::string_view spec, const std::string& where);

}  // namespace monograph::importer
