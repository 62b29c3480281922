// Parts of the page, embedded at build time from runtime/dump/page.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace monograph::dump {

/// The file's text, or nullptr.
const std::string* embedded_source(std::string_view name) noexcept;
std::vector<std::string> embedded_names();  ///< sorted

}  // namespace monograph::dump
