// JSON from untrusted files: bounded, without duplicate keys, read with errors that name the place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace monograph::importer {

struct JsonLimits {
  std::size_t bytes = std::size_t{256} << 20;
  std::size_t depth = 64;
  std::size_t values = std::size_t{16} << 20;
  std::size_t string_bytes = std::size_t{4} << 20;
};

/// Parses `text`; `where` ("model.pt2: models/model.json") begins every message.
/// Error(kInvalidFile) for malformed text (with its byte), a key that appears twice in an object,
/// and anything beyond `limits`.
nlohmann::json parse_json(std::string_view text, const std::string& where,
                          const JsonLimits& limits = {});

/// A value of a document, read with errors that say where it stands. Refers to the document and to
/// `where`, which must outlive it. Every function throws Error(kInvalidFile) naming the place, what
/// was expected and what is there.
class JsonValue {
 public:
  JsonValue(const nlohmann::json& document, const std::string& where)
      : JsonValue(document, document, where) {}

  const nlohmann::json& raw() const noexcept { return *json_; }
  bool is_null() const noexcept { return json_->is_null(); }

  JsonValue at(const char* key) const;  ///< a field that must be there
  bool has(const char* key) const;      ///< true if the field is there and isn't null
  std::size_t size() const;             ///< of an array
  JsonValue operator[](std::size_t index) const;
  std::vector<std::string> keys() const;  ///< of an object, sorted

  std::int64_t integer() const;
  double number() const;  ///< also "Infinity", "-Infinity" and "NaN", as PyTorch writes them
  bool boolean() const;
  const std::string& string() const;
  /// The one key of an object that has one (null fields aside): how unions are written.
  const std::string& tag() const;

  [[noreturn]] void fail(const std::string& what) const;
  /// "graph_module.graph.nodes[3].target"; searched for when asked, so that reading costs nothing.
  std::string path() const;

 private:
  JsonValue(const nlohmann::json& json, const nlohmann::json& document, const std::string& where)
      : json_(&json), document_(&document), where_(&where) {}
  JsonValue child(const nlohmann::json& json) const { return {json, *document_, *where_}; }
  [[noreturn]] void expected(const char* what) const;

  const nlohmann::json* json_;
  const nlohmann::json* document_;
  const std::string* where_;
};

}  // namespace monograph::importer
