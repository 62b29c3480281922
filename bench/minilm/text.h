// Text normalisation and splitting as uncased BERT models expect them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace monograph::bench {

/// Byte offset of the first place where `text` is not valid UTF-8, or npos.
std::size_t find_invalid_utf8(std::string_view text) noexcept;

/// Lower-cased words of `text`: control characters dropped, accents removed, every CJK ideograph
/// and punctuation mark a word of its own. `text` must be valid UTF-8, else
/// Error(kInvalidArgument). Source: BasicTokenizer of google-research/bert. Agrees with
/// BertNormalizer and BertPreTokenizer of Hugging Face tokenizers on every code point but those
/// whose category was set or changed after Unicode 8, which their tables are made from.
std::vector<std::string> bert_words(std::string_view text);

}  // namespace monograph::bench
