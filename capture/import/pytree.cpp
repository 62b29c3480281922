#include "capture/import/pytree.h"

#include <fmt/format.h>

#include "capture/import/json.h"

namespace monograph::importer {
namespace {

/// Keys of a dictionary or fields of a named tuple: a JSON text inside the JSON.
std::vector<std::string> keys_of(const JsonValue& node, const std::string& where) {
  const JsonValue context = node.at("context");
  const nlohmann::json inner =
      context.raw().is_string() ? parse_json(context.string(), where) : context.raw();
  std::vector<std::string> keys;
  if (!inner.is_array()) return keys;
  for (const nlohmann::json& key : inner) {
    if (key.is_string()) {
      keys.push_back(fmt::format("['{}']", key.get_ref<const std::string&>()));
    } else {
      keys.push_back("[" + key.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "]");
    }
  }
  return keys;
}

void walk(const JsonValue& node, const std::string& where, const std::string& prefix,
          std::vector<std::string>& leaves) {
  if (!node.has("type")) {
    leaves.push_back(prefix);
    return;
  }
  const JsonValue children = node.at("children_spec");
  const std::string& type = node.at("type").string();
  const bool keyed = type == "builtins.dict" || type == "collections.OrderedDict" ||
                     type == "collections.defaultdict";
  std::vector<std::string> keys;
  if (keyed) keys = keys_of(node, where);
  for (std::size_t i = 0; i < children.size(); ++i) {
    const std::string step = keys.size() == children.size() ? keys[i] : fmt::format("[{}]", i);
    walk(children[i], where, prefix + step, leaves);
  }
}

}  // namespace

std::vector<std::string> pytree_leaves(std::string_view spec, const std::string& where) {
  const nlohmann::json document = parse_json(spec, where);
  const JsonValue root(document, where);
  if (root.size() != 2) root.fail("expected [version, structure]");
  if (const auto version = root[0].integer(); version != 1) {
    root[0].fail(fmt::format("structure of version {}, the newest one known is 1", version));
  }
  std::vector<std::string> leaves;
  walk(root[1], where, {}, leaves);
  return leaves;
}

}  // namespace monograph::importer
