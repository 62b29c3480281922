#include <fmt/format.h>
#include <monograph/error.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/models/bert.h"

namespace monograph::bench {
namespace {

[[noreturn]] void fail(const std::filesystem::path& file, const std::string& what) {
  throw Error(Code::kInvalidFile, file.string() + ": " + what);
}

nlohmann::json parse(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) fail(file, "can't be opened");
  auto json = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) fail(file, "is not a JSON object");
  return json;
}

// Reads one JSON object field by field, with errors that name the field.
class Fields {
 public:
  explicit Fields(const std::filesystem::path& file) : file_(file), json_(parse(file)) {}

  std::int64_t size(const char* name) const {
    constexpr std::int64_t kLargest = std::int64_t{1} << 31;
    const auto it = json_.find(name);
    if (it == json_.end()) fail(file_, fmt::format("\"{}\": missing", name));
    if (!it->is_number_integer() || *it < 1 || *it > kLargest) {
      fail(file_,
           fmt::format("\"{}\": expected a positive whole number, got {}", name, shown(*it)));
    }
    return it->get<std::int64_t>();
  }

  double fraction(const char* name, double otherwise) const {
    const auto it = json_.find(name);
    if (it == json_.end()) return otherwise;
    if (!it->is_number() || *it < 0.0 || *it >= 1.0) {
      fail(file_, fmt::format("\"{}\": expected a number from 0 to 1, got {}", name, shown(*it)));
    }
    return it->get<double>();
  }

  void must_be(const char* name, const char* wanted) const {
    const auto it = json_.find(name);
    if (it != json_.end() && *it != wanted) {
      fail(file_, fmt::format("\"{}\": expected \"{}\", got {}", name, wanted, shown(*it)));
    }
  }

 private:
  static std::string shown(const nlohmann::json& value) {
    const auto replace = nlohmann::json::error_handler_t::replace;
    return value.dump(-1, ' ', true, replace).substr(0, 80);
  }

  std::filesystem::path file_;
  nlohmann::json json_;
};

}  // namespace

BertConfig BertConfig::load(const std::filesystem::path& file) {
  const Fields fields(file);
  fields.must_be("model_type", "bert");
  fields.must_be("hidden_act", "gelu");
  fields.must_be("position_embedding_type", "absolute");
  BertConfig config;
  config.vocab_size = fields.size("vocab_size");
  config.hidden_size = fields.size("hidden_size");
  config.num_hidden_layers = fields.size("num_hidden_layers");
  config.num_attention_heads = fields.size("num_attention_heads");
  config.intermediate_size = fields.size("intermediate_size");
  config.max_position_embeddings = fields.size("max_position_embeddings");
  config.type_vocab_size = fields.size("type_vocab_size");
  config.layer_norm_eps = fields.fraction("layer_norm_eps", config.layer_norm_eps);
  config.hidden_dropout_prob = fields.fraction("hidden_dropout_prob", 0.0);
  config.attention_probs_dropout_prob = fields.fraction("attention_probs_dropout_prob", 0.0);
  if (config.hidden_size % config.num_attention_heads != 0) {
    fail(file, fmt::format("\"hidden_size\": {} is no multiple of \"num_attention_heads\": {}",
                           config.hidden_size, config.num_attention_heads));
  }
  return config;
}

std::int64_t load_max_length(const std::filesystem::path& folder) {
  const std::int64_t positions = BertConfig::load(folder / "config.json").max_position_embeddings;
  const auto file = folder / "sentence_bert_config.json";
  if (!std::filesystem::exists(file)) return positions;
  const std::int64_t length = Fields(file).size("max_seq_length");
  if (length < 2 || length > positions) {
    fail(file, fmt::format("\"max_seq_length\": expected 2 to {}, got {}", positions, length));
  }
  return length;
}

}  // namespace monograph::bench
