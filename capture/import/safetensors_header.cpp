#include "capture/import/safetensors_header.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

namespace monograph::importer {
namespace {

constexpr std::string_view kMetadataKey = "__metadata__";
// LibTorch tensors have at most 64 dimensions.
constexpr std::size_t kMaxRank = 64;

constexpr std::array<std::pair<std::string_view, ir::DType>, 13> kDTypes{{
    {"BOOL", ir::DType::kBool},
    {"U8", ir::DType::kU8},
    {"I8", ir::DType::kI8},
    {"I16", ir::DType::kI16},
    {"I32", ir::DType::kI32},
    {"I64", ir::DType::kI64},
    {"F16", ir::DType::kF16},
    {"BF16", ir::DType::kBF16},
    {"F32", ir::DType::kF32},
    {"F64", ir::DType::kF64},
    {"C64", ir::DType::kC64},
    {"F8_E4M3", ir::DType::kF8E4M3FN},
    {"F8_E5M2", ir::DType::kF8E5M2},
}};

std::optional<ir::DType> dtype_from_file(std::string_view name) {
  for (const auto& [spelling, dtype] : kDTypes) {
    if (spelling == name) return dtype;
  }
  return std::nullopt;
}

// Receives the JSON event by event, so that duplicate keys are seen and nothing is built that the
// format doesn't allow. `nlohmann` drives it without recursion.
class HeaderBuilder {
 public:
  // The library asks for these names.
  // NOLINTBEGIN(readability-identifier-naming)
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;
  // NOLINTEND(readability-identifier-naming)

  explicit HeaderBuilder(const std::string& file) : file_(file) {}

  bool null() { unexpected("null"); }
  bool boolean(bool value) { unexpected(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) { unexpected(fmt::format("{}", value)); }
  bool number_float(number_float_t, const string_t& text) { unexpected(text); }
  bool binary(binary_t&) { unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) {
    if (place_ != Place::kArray) unexpected(fmt::format("{}", value));
    if (value > std::numeric_limits<std::int64_t>::max()) {
      fail(fmt::format("{} is out of range", value));
    }
    if (numbers_.size() >= limit()) {
      fail(fmt::format("expected at most {} numbers", limit()));
    }
    numbers_.push_back(value);
    return true;
  }

  bool string(string_t& text) {
    if (place_ == Place::kMetadata) {
      header_.metadata.emplace(field_, std::move(text));
      return true;
    }
    if (place_ != Place::kEntry || field_ != "dtype") unexpected(in_quotes(text));
    const auto dtype = dtype_from_file(text);
    if (!dtype) fail("unknown element type " + in_quotes(text));
    entry_.dtype = *dtype;
    return true;
  }

  bool start_object(std::size_t) {
    switch (place_) {
      case Place::kStart:
        place_ = Place::kRoot;
        return true;
      case Place::kRoot:
        place_ = entry_.name == kMetadataKey ? Place::kMetadata : Place::kEntry;
        fields_.clear();
        return true;
      default:
        unexpected("an object");
    }
  }

  bool key(string_t& text) {
    if (place_ == Place::kRoot) {
      if (!names_.insert(text).second) throw_error(in_quotes(text) + " appears twice");
      entry_ = HeaderEntry{};
      entry_.name = std::move(text);
      field_.clear();
      return true;
    }
    field_ = std::move(text);
    if (!fields_.insert(field_).second) fail("appears twice");
    if (place_ == Place::kEntry && field_ != "dtype" && field_ != "shape" &&
        field_ != "data_offsets") {
      fail("unknown field; expected dtype, shape and data_offsets");
    }
    return true;
  }

  bool end_object() {
    if (place_ == Place::kRoot) {
      place_ = Place::kEnd;
      return true;
    }
    if (place_ == Place::kEntry) {
      for (const char* wanted : {"dtype", "shape", "data_offsets"}) {
        field_ = wanted;
        if (!fields_.contains(field_)) fail("missing");
      }
      header_.entries.push_back(std::move(entry_));
    }
    place_ = Place::kRoot;
    return true;
  }

  bool start_array(std::size_t) {
    if (place_ != Place::kEntry || (field_ != "shape" && field_ != "data_offsets")) {
      unexpected("an array");
    }
    place_ = Place::kArray;
    numbers_.clear();
    return true;
  }

  bool end_array() {
    if (field_ == "shape") {
      entry_.shape.assign(numbers_.begin(), numbers_.end());
    } else {
      if (numbers_.size() != 2) {
        fail(fmt::format("expected [begin, end], got {} numbers", numbers_.size()));
      }
      entry_.begin = numbers_[0];
      entry_.end = numbers_[1];
    }
    place_ = Place::kEntry;
    return true;
  }

  bool parse_error(std::size_t byte, const std::string&, const nlohmann::detail::exception& error) {
    // The library's text repeats the position and may quote raw bytes; its number is enough.
    throw_error(
        fmt::format("the header is not valid JSON at byte {} (parse error {})", byte, error.id));
  }

  Header take() { return std::move(header_); }

 private:
  enum class Place { kStart, kRoot, kMetadata, kEntry, kArray, kEnd };

  std::size_t limit() const { return field_ == "shape" ? kMaxRank : 2; }

  [[noreturn]] void throw_error(const std::string& what) const {
    throw Error(Code::kInvalidFile, file_ + ": " + what);
  }
  [[noreturn]] void fail(const std::string& what) const {
    const std::string where = field_.empty() ? "" : in_quotes(field_) + ": ";
    throw_error("tensor " + in_quotes(entry_.name) + ": " + where + what);
  }
  [[noreturn]] void unexpected(const std::string& got) const {
    if (place_ == Place::kStart) throw_error("the header must be a JSON object, got " + got);
    fail(fmt::format("expected {}, got {}", wanted(), got));
  }
  std::string_view wanted() const {
    if (place_ == Place::kRoot) return "an object";
    if (place_ == Place::kArray) return "a number that is whole and not negative";
    if (place_ == Place::kMetadata || field_ == "dtype") return "a string";
    return "an array of numbers";
  }

  const std::string& file_;
  Place place_ = Place::kStart;
  Header header_;
  HeaderEntry entry_;
  std::string field_;
  std::vector<std::uint64_t> numbers_;
  std::set<std::string> names_;
  std::set<std::string> fields_;
};

}  // namespace

std::string_view safetensors_dtype_name(ir::DType dtype) noexcept {
  for (const auto& [spelling, known] : kDTypes) {
    if (known == dtype) return spelling;
  }
  return {};
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLongest = 120;
  std::string out = "\"";
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + (text.size() > kLongest ? "...\"" : "\"");
}

Header parse_safetensors_header(std::string_view json, const std::string& file) {
  HeaderBuilder builder(file);
  nlohmann::json::sax_parse(json.begin(), json.end(), &builder);
  return builder.take();
}

}  // namespace monograph::importer
