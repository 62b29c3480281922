// The sentences to compare, from a text file or as shipped.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace monograph::bench {

/// The text of sentences.txt, which ships with the program.
std::string_view shipped_sentences() noexcept;

/// One sentence per line of `text`; blank lines and white space at both ends are dropped. `source`
/// names the text in messages. Error(kInvalidFile) with the line if it isn't valid UTF-8, or if
/// fewer than two sentences are left: there would be nothing to compare.
std::vector<std::string> split_sentences(std::string_view text, const std::string& source);

/// The sentences of `file`. Error(kInvalidFile) also if it can't be read or exceeds 16 MiB.
std::vector<std::string> read_sentences(const std::filesystem::path& file);

}  // namespace monograph::bench
