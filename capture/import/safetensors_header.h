// The JSON header of a safetensors file, parsed and checked for form; safetensors.cpp checks it
// against the file.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "capture/ir/types.h"

namespace monograph::importer {

/// One entry as the header states it: offsets in bytes from the start of the data.
struct HeaderEntry {
  std::string name;
  ir::DType dtype = ir::DType::kUndefined;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct Header {
  std::vector<HeaderEntry> entries;  ///< in the order of the header
  std::map<std::string, std::string> metadata;
};

/// Parses the header of the file called `file` in messages. Memory grows with the text, nesting
/// is bounded. Error(kInvalidFile) names the entry and field, or the byte where the JSON breaks.
Header parse_safetensors_header(std::string_view json, const std::string& file);

/// "F32" for f32; empty if the format has no name for `dtype`.
std::string_view safetensors_dtype_name(ir::DType dtype) noexcept;

/// `text` in double quotes, shortened, with control characters escaped: for messages.
std::string in_quotes(std::string_view text);

}  // namespace monograph::importer
