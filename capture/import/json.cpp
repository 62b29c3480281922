#include "capture/import/json.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "capture/import/mapped_file.h"
#include "capture/import/safetensors_header.h"

namespace monograph::importer {
namespace {

using nlohmann::json;

/// Builds the document event by event, so that limits hold while it grows and duplicate keys are
/// seen. `nlohmann` drives it without recursion.
class Builder {
 public:
  // The library asks for these names.
  // NOLINTBEGIN(readability-identifier-naming)
  using number_integer_t = json::number_integer_t;
  using number_unsigned_t = json::number_unsigned_t;
  using number_float_t = json::number_float_t;
  using string_t = json::string_t;
  using binary_t = json::binary_t;
  // NOLINTEND(readability-identifier-naming)

  Builder(const std::string& where, const JsonLimits& limits) : where_(where), limits_(limits) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(number_integer_t value) { return add(value); }
  bool number_unsigned(number_unsigned_t value) { return add(value); }
  bool number_float(number_float_t value, const string_t&) { return add(value); }
  bool binary(binary_t&) { fail("binary data"); }
  bool string(string_t& value) {
    check_length(value);
    return add(std::move(value));
  }
  bool start_object(std::size_t) { return open(json::object()); }
  bool start_array(std::size_t) { return open(json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(string_t& text) {
    check_length(text);
    json& object = *open_.back();
    const auto [it, fresh] = object.get_ref<json::object_t&>().try_emplace(text);
    if (!fresh) fail("key " + in_quotes(text) + " appears twice in one object");
    slot_ = &it->second;
    return true;
  }
  bool parse_error(std::size_t byte, const std::string&, const nlohmann::detail::exception& error) {
    // The library's text repeats the position and may quote raw bytes; its number is enough.
    fail(fmt::format("not valid JSON at byte {} (parse error {})", byte, error.id));
  }

  json take() { return std::move(root_); }

 private:
  [[noreturn]] void fail(const std::string& what) const { fail_file(where_, what); }

  void check_length(const std::string& text) const {
    if (text.size() > limits_.string_bytes) {
      fail(fmt::format("a string of {} bytes, more than the {} allowed", text.size(),
                       limits_.string_bytes));
    }
  }

  json& place(json value) {
    if (++values_ > limits_.values) {
      fail(fmt::format("more than the {} values allowed", limits_.values));
    }
    if (open_.empty()) return root_ = std::move(value);
    if (open_.back()->is_array()) {
      return open_.back()->get_ref<json::array_t&>().emplace_back(std::move(value));
    }
    return *slot_ = std::move(value);
  }
  bool add(json value) {
    place(std::move(value));
    return true;
  }
  bool open(json value) {
    if (open_.size() >= limits_.depth) {
      fail(fmt::format("nested deeper than the {} levels allowed", limits_.depth));
    }
    open_.push_back(&place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& where_;
  const JsonLimits& limits_;
  json root_;
  std::vector<json*> open_;  ///< a parent isn't moved while a child is open
  json* slot_ = nullptr;     ///< where the value of the last key goes
  std::size_t values_ = 0;
};

/// Path from `from` to the value at `wanted`, which lies in it; false if it doesn't.
bool find(const json& from, const json* wanted, std::string& path) {
  if (&from == wanted) return true;
  const std::size_t length = path.size();
  if (from.is_object()) {
    for (const auto& [key, value] : from.get_ref<const json::object_t&>()) {
      path += (path.empty() ? "" : ".") + key;
      if (find(value, wanted, path)) return true;
      path.resize(length);
    }
  } else if (from.is_array()) {
    for (std::size_t i = 0; i < from.size(); ++i) {
      path += fmt::format("[{}]", i);
      if (find(from[i], wanted, path)) return true;
      path.resize(length);
    }
  }
  return false;
}

}  // namespace

json parse_json(std::string_view text, const std::string& where, const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    fail_file(where,
              fmt::format("{} bytes of JSON, more than the {} allowed", text.size(), limits.bytes));
  }
  Builder builder(where, limits);
  json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

std::string JsonValue::path() const {
  std::string path;
  return find(*document_, json_, path) && !path.empty() ? path : "document";
}

void JsonValue::fail(const std::string& what) const {
  fail_file(*where_, path() + ": " + what);
}

void JsonValue::expected(const char* what) const {
  constexpr std::size_t kLongest = 80;
  std::string got = json_->is_structured()
                        ? std::string(json_->type_name())
                        : json_->dump(-1, ' ', true, json::error_handler_t::replace);
  if (got.size() > kLongest) got = got.substr(0, kLongest) + "...";
  fail(fmt::format("expected {}, got {}", what, got));
}

JsonValue JsonValue::at(const char* key) const {
  if (!json_->is_object()) expected("an object");
  const auto it = json_->find(key);
  if (it == json_->end()) fail(fmt::format("field \"{}\" is missing", key));
  return child(*it);
}

bool JsonValue::has(const char* key) const {
  if (!json_->is_object()) expected("an object");
  const auto it = json_->find(key);
  return it != json_->end() && !it->is_null();
}

std::size_t JsonValue::size() const {
  if (!json_->is_array()) expected("an array");
  return json_->size();
}

JsonValue JsonValue::operator[](std::size_t index) const {
  if (index >= size()) fail(fmt::format("element {} is missing", index));
  return child((*json_)[index]);
}

std::vector<std::string> JsonValue::keys() const {
  if (!json_->is_object()) expected("an object");
  std::vector<std::string> keys;
  for (const auto& [key, value] : json_->get_ref<const json::object_t&>()) keys.push_back(key);
  return keys;
}

std::int64_t JsonValue::integer() const {
  if (!json_->is_number_integer()) expected("a whole number");
  if (json_->is_number_unsigned() &&
      json_->get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    expected("a whole number of 64 bits");
  }
  return json_->get<std::int64_t>();
}

double JsonValue::number() const {
  if (json_->is_number()) return json_->get<double>();
  if (*json_ == "Infinity") return std::numeric_limits<double>::infinity();
  if (*json_ == "-Infinity") return -std::numeric_limits<double>::infinity();
  if (*json_ == "NaN") return std::numeric_limits<double>::quiet_NaN();
  expected("a number");
}

bool JsonValue::boolean() const {
  if (!json_->is_boolean()) expected("true or false");
  return json_->get<bool>();
}

const std::string& JsonValue::string() const {
  if (!json_->is_string()) expected("a string");
  return json_->get_ref<const std::string&>();
}

const std::string& JsonValue::tag() const {
  if (!json_->is_object()) expected("an object with one field");
  const std::string* found = nullptr;
  for (const auto& [key, value] : json_->get_ref<const json::object_t&>()) {
    if (value.is_null()) continue;
    if (found != nullptr) expected("an object with one field");
    found = &key;
  }
  if (found == nullptr) expected("an object with one field");
  return *found;
}

}  // namespace monograph::importer
