#include "runtime/session/shape_key.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/error.h>

#include "capture/trace/convert.h"

namespace monograph::session {
namespace {

std::string input_label(std::size_t index, const std::vector<std::string>& names) {
  return index < names.size() ? fmt::format("input {} ('{}')", index, names[index])
                              : fmt::format("input {}", index);
}

}  // namespace

ShapeKey::ShapeKey(const std::vector<at::Tensor>& inputs, const std::vector<std::string>& names) {
  std::size_t words = 1;
  for (const at::Tensor& t : inputs) words += 4 + (t.defined() ? 2 * t.sizes().size() : 0);
  words_.reserve(words);
  words_.push_back(static_cast<std::int64_t>(inputs.size()));
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const at::Tensor& t = inputs[i];
    if (!t.defined() || t.layout() != at::kStrided) {
      throw Error(Code::kInvalidArgument, fmt::format("{}: expected a dense tensor, got {}",
                                                      input_label(i, names), trace::describe(t)));
    }
    words_.push_back(static_cast<std::int64_t>(t.scalar_type()));
    words_.push_back(static_cast<std::int64_t>(t.device().type()));
    words_.push_back(t.device().index());
    words_.push_back(t.dim());
    words_.insert(words_.end(), t.sizes().begin(), t.sizes().end());
    const bool empty = t.numel() == 0;
    for (std::int64_t d = 0; d < t.dim(); ++d) {
      words_.push_back(empty || t.size(d) == 1 ? 0 : t.stride(d));
    }
  }
}

void ShapeKey::append(const std::vector<std::int64_t>& words) {
  words_.insert(words_.end(), words.begin(), words.end());
}

std::size_t ShapeKey::hash() const noexcept {
  // FNV-1a over words, with a final mix; only ever used to look up, never to order.
  std::uint64_t h = 0xcbf29ce484222325ULL;
  for (const std::int64_t w : words_) {
    h = (h ^ static_cast<std::uint64_t>(w)) * 0x100000001b3ULL;
    h ^= h >> 29;
  }
  return static_cast<std::size_t>(h);
}

std::string ShapeKey::text(const std::vector<at::Tensor>& inputs) const {
  std::vector<std::string> parts;
  bool strided = false;
  for (const at::Tensor& t : inputs) {
    const auto dtype = trace::dtype_of(t.scalar_type());
    parts.push_back(
        fmt::format("{}_{}", dtype ? ir::dtype_name(*dtype) : "other",
                    t.dim() == 0 ? "scalar" : fmt::format("{}", fmt::join(t.sizes(), "x"))));
    strided = strided || !t.is_contiguous();
  }
  std::string text = fmt::format("{}", fmt::join(parts, "__"));
  constexpr std::size_t kLongest = 120;  // well below what file systems allow
  if (strided || text.empty() || text.size() > kLongest) {
    text = fmt::format("{}~{:016x}", text.substr(0, kLongest), hash());
  }
  return text;
}

}  // namespace monograph::session
