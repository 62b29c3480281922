#include "capture/ir/python.h"

#include <monograph/error.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "capture/ir/python_script.h"
#include "capture/ir/spelling.h"
#include "capture/ir/text.h"

namespace monograph::ir {
namespace {

constexpr std::array<std::string_view, 35> kKeywords{
    "False", "None",     "True",  "and",    "as",   "assert", "async",  "await",    "break",
    "class", "continue", "def",   "del",    "elif", "else",   "except", "finally",  "for",
    "from",  "global",   "if",    "import", "in",   "is",     "lambda", "nonlocal", "not",
    "or",    "pass",     "raise", "return", "try",  "while",  "with",   "yield"};

/// What generated functions refer to, so that no variable may be called so.
constexpr std::array<std::string_view, 8> kReferences{"torch",   "weights", "DEVICE",  "float",
                                                      "complex", "getattr", "forward", "__debug__"};

template <class Words>
bool contains(const Words& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// True if Python takes `name` after a dot or as a keyword argument.
bool is_plain_name(std::string_view name) {
  return is_identifier(name) && !contains(kKeywords, name);
}

/// Makes valid Python names, each given once.
class Namer {
 public:
  std::string unique(std::string_view wanted) {
    std::string base;
    for (const char c : wanted) base += is_name_char(c) ? c : '_';
    if (!is_identifier(base)) base.insert(0, "_");
    if (contains(kKeywords, base) || contains(kReferences, base)) base += '_';
    std::string name = base;
    for (int i = 1; !taken_.insert(name).second; ++i) name = base + "_" + std::to_string(i);
    return name;
  }

 private:
  std::set<std::string> taken_;
};

std::string spell_float(double value) {
  const std::string digits = spell_double(value);
  const bool is_number = digits.find_first_of("in") == std::string::npos;
  return is_number ? digits : "float(\"" + digits + "\")";
}

std::string spell_device(const Device& device) {
  return "torch.device(\"" + short_device(device) + "\")";
}

template <class Range, class Spell>
std::string join(const Range& items, Spell spell) {
  std::string out;
  for (const auto& item : items) {
    if (!out.empty()) out += ", ";
    out += spell(item);
  }
  return out;
}

/// "(1, 2)", "(1,)" or "()"
template <class Range, class Spell>
std::string tuple(const Range& items, Spell spell) {
  return "(" + join(items, spell) + (items.size() == 1 ? ",)" : ")");
}

/// The device that DEVICE stands for: the first accelerator a tensor lives on, else the CPU.
std::optional<Device> find_accelerator(const Graph& graph) {
  for (const Storage& s : graph.storages()) {
    if (s.device.type == DeviceType::kCuda) return s.device;
  }
  for (const auto& [name, sub] : graph.subgraphs()) {
    if (const auto device = find_accelerator(*sub)) return device;
  }
  return std::nullopt;
}

/// What all functions of one script share.
struct Script {
  Device main_device;
  std::map<const Graph*, std::string> functions;  // asked only, never iterated

  bool is_main(const Device& device) const {
    const bool any_index = device.index < 0 || main_device.index < 0;
    return device.type == main_device.type && (any_index || device.index == main_device.index);
  }
};

/// Writes one graph as a Python function.
class FunctionWriter {
 public:
  FunctionWriter(const Graph& graph, const Script& script, Namer namer)
      : graph_(graph), script_(script), namer_(std::move(namer)) {}

  std::string write(bool is_fusion) {
    const std::vector<Node*> inputs = graph_.placeholders();
    for (const auto& node : graph_.nodes()) names_[node.get()] = namer_.unique(node->name());
    find_last_uses();
    const auto& name = script_.functions.at(&graph_);
    std::string out = "def " + name + "(weights";
    for (const Node* input : inputs) out += ", " + names_.at(input);
    out += "):\n";
    out += "    # graph " + python_quoted(graph_.name()) + "\n";
    std::string region;
    for (const auto& node : graph_.nodes()) {
      if (node->module_path != region && node->kind() == NodeKind::kCallFunction) {
        region = node->module_path;
        out += "    # in " + python_quoted(region) + "\n";
      }
      out += statement(*node, is_fusion);
    }
    return out;
  }

 private:
  [[noreturn]] static void fail(const Node& node, const std::string& message) {
    throw Error(Code::kInvalidGraph, message, node.name());
  }

  /// A call's result is let go after its last use, so that the script needs little memory.
  void find_last_uses() {
    std::set<const Node*> seen;  // asked only, never iterated
    for (auto it = graph_.nodes().rbegin(); it != graph_.nodes().rend(); ++it) {
      const Node& user = **it;
      const auto note = [&](const Node* used) {
        if (used->kind() != NodeKind::kCallFunction || !seen.insert(used).second) return;
        if (user.kind() != NodeKind::kOutput) released_[&user].push_back(used);
      };
      for (const Arg& a : user.args()) for_each_node(a, note);
      for (const auto& [key, a] : user.kwargs()) for_each_node(a, note);
    }
  }

  std::string statement(const Node& node, bool is_fusion) const {
    switch (node.kind()) {
      case NodeKind::kPlaceholder:
        return {};
      case NodeKind::kGetAttr:
        return "    " + names_.at(&node) + " = weights[" + python_quoted(node.target()) + "]" +
               comment(node);
      case NodeKind::kCallFunction:
        return "    " + call(node) + release(node) + comment(node);
      case NodeKind::kOutput:
        return "    return " + returned(node, is_fusion) + "\n";
    }
    return {};
  }

  /// Fusions return a flat tuple of tensors, `forward` what the output node says.
  std::string returned(const Node& node, bool is_fusion) const {
    if (!is_fusion) return tuple(node.args(), [&](const Arg& a) { return spell(node, a); });
    std::vector<const Node*> flat;
    for (const Arg& a : node.args()) for_each_node(a, [&](const Node* n) { flat.push_back(n); });
    return tuple(flat, [&](const Node* n) { return names_.at(n); });
  }

  std::string release(const Node& node) const {
    const auto found = released_.find(&node);
    if (found == released_.end()) return {};
    std::string out = ";  ";
    for (const Node* n : found->second) out += names_.at(n) + " = ";
    return out + "None";
  }

  static std::string comment(const Node& node) {
    if (node.values().empty() && node.source.empty()) return "\n";
    std::string types = join(node.values(), [](const Value& v) { return text(v.type); });
    if (node.is_list()) types = "[" + types + "]";
    if (!node.source.empty()) types += " at " + python_quoted(node.source);
    return "  # " + types + "\n";
  }

  std::string call(const Node& node) const {
    std::string result;
    if (node.is_call("operator.getitem")) {
      result = getitem(node);
    } else if (node.target().starts_with("fusion.")) {
      result = fusion(node);
    } else {
      result = operator_name(node) + "(" + arguments(node) + ")";
    }
    const bool has_result = node.is_list() || !node.values().empty();
    return has_result ? names_.at(&node) + " = " + result : result;
  }

  std::string getitem(const Node& node) const {
    if (node.args().size() != 2) fail(node, "operator.getitem takes a list and an index");
    return spell(node, node.args()[0]) + "[" + spell(node, node.args()[1]) + "]";
  }

  std::string fusion(const Node& node) const {
    const Graph* sub = graph_.subgraph(node.target().substr(7));
    if (sub == nullptr) fail(node, "there is no subgraph for " + quoted(node.target()));
    std::string out = script_.functions.at(sub) + "(weights";
    for (const Arg& a : node.args()) out += ", " + spell(node, a);
    return out + (node.has_tensor() ? ")[0]" : ")");
  }

  static std::string operator_name(const Node& node) {
    std::string out = "torch.ops";
    std::string_view rest = node.target();
    for (int parts = 1;; ++parts) {
      const std::size_t dot = rest.find('.');
      const std::string_view part = rest.substr(0, dot);
      if (part.empty() || (dot == std::string_view::npos) != (parts == 3)) {
        fail(node, "target " + quoted(node.target()) + " isn't ns.op.overload");
      }
      if (is_plain_name(part)) {
        out.append(".").append(part);
      } else {
        out.insert(0, "getattr(").append(", ").append(python_quoted(part)).append(")");
      }
      if (parts == 3) return out;
      rest.remove_prefix(dot + 1);
    }
  }

  std::string arguments(const Node& node) const {
    std::string out = join(node.args(), [&](const Arg& a) { return spell(node, a); });
    std::string unusual;  // keywords that Python couldn't parse as such
    for (const auto& [key, a] : node.kwargs()) {
      const std::string value = spell(node, a);
      if (is_plain_name(key)) {
        out.append(out.empty() ? "" : ", ").append(key).append("=").append(value);
      } else {
        unusual.append(unusual.empty() ? "" : ", ").append(python_quoted(key));
        unusual.append(": ").append(value);
      }
    }
    if (unusual.empty()) return out;
    return out + (out.empty() ? "**{" : ", **{") + unusual + "}";
  }

  std::string spell(const Node& user, const Arg& arg) const {
    if (const auto* n = arg.get_if<Node*>()) return names_.at(*n);
    if (const auto* list = arg.get_if<Arg::List>()) {
      return "[" + join(*list, [&](const Arg& a) { return spell(user, a); }) + "]";
    }
    if (const auto* v = arg.get_if<double>()) return spell_float(*v);
    if (const auto* v = arg.get_if<std::complex<double>>()) {
      return "complex(" + spell_float(v->real()) + ", " + spell_float(v->imag()) + ")";
    }
    if (const auto* v = arg.get_if<std::string>()) return python_quoted(*v);
    if (const auto* v = arg.get_if<DType>()) return std::string(python_dtype_name(*v));
    if (const auto* v = arg.get_if<Device>()) {
      return script_.is_main(*v) ? "DEVICE" : spell_device(*v);
    }
    if (const auto* v = arg.get_if<Layout>(); v != nullptr && *v == Layout::kOther) {
      fail(user, "an argument's layout has no name in Python");
    }
    return text(arg);  // None, booleans, integers, layouts and memory formats read alike
  }

  const Graph& graph_;
  const Script& script_;
  Namer namer_;
  // Looked up only, never iterated.
  std::unordered_map<const Node*, std::string> names_;
  std::unordered_map<const Node*, std::vector<const Node*>> released_;
};

/// Tables of where weights and inputs live.
class SlotWriter {
 public:
  explicit SlotWriter(const Script& script) : script_(script) {}

  /// Rows for the nodes of `kind` in `graph` and its subgraphs, one per target.
  std::string rows(const Graph& graph, NodeKind kind) {
    std::string out;
    for (const auto& node : graph.nodes()) {
      if (node->kind() != kind || !node->has_tensor() || !node->type().defined()) continue;
      if (targets_.insert(node->target()).second) out += row(graph, *node);
    }
    if (kind == NodeKind::kPlaceholder) return out;  // a fusion's are its caller's values
    for (const auto& [name, sub] : graph.subgraphs()) out += rows(*sub, kind);
    return out;
  }

 private:
  std::string row(const Graph& graph, const Node& node) {
    const TensorType& type = node.type();
    const Storage& storage = graph.storage(node.storage());
    const auto number = static_cast<std::int64_t>(storages_.size());
    const auto [slot, first] = storages_.emplace(std::pair(&graph, storage.id), Use{number, &node});
    const auto digits = [](std::int64_t n) { return std::to_string(n); };
    std::string out = "    " + python_quoted(node.target()) + ": Slot(" +
                      std::string(python_dtype_name(type.dtype)) + ", " +
                      tuple(type.sizes, digits) + ", " + tuple(type.strides, digits) + ", " +
                      digits(type.offset) + ", " + digits(slot->second.number) + ", " +
                      digits(storage.nbytes);
    if (!script_.is_main(type.device)) out += ", " + spell_device(type.device);
    out += "),";
    std::string notes;
    if (node.kind() == NodeKind::kGetAttr) notes = storage_kind_name(storage.kind);
    const auto note = [&](const std::string& n) { notes += (notes.empty() ? "" : ", ") + n; };
    if (!type.is_contiguous()) note("not row-major");
    if (!first) note("in the memory of " + python_quoted(slot->second.node->target()));
    return out + (notes.empty() ? "" : "  # " + notes) + "\n";
  }

  struct Use {
    std::int64_t number;
    const Node* node;
  };
  const Script& script_;
  std::set<std::string> targets_;
  std::map<std::pair<const Graph*, StorageId>, Use> storages_;  // asked only, never iterated
};

/// Names functions, innermost fusions first; `order` is also the order of definition.
void collect_functions(const Graph& graph, const std::string& name, Namer& namer, Script& script,
                       std::vector<const Graph*>& order) {
  for (const auto& [key, sub] : graph.subgraphs()) {
    collect_functions(*sub, "fusion_" + key, namer, script, order);
  }
  script.functions[&graph] = name == "forward" ? name : namer.unique(name);
  order.push_back(&graph);
}

}  // namespace

std::string python(const Graph& graph, const PythonOptions& options) {
  Script script;
  script.main_device = find_accelerator(graph).value_or(Device{});
  Namer namer;
  std::vector<const Graph*> order;
  collect_functions(graph, "forward", namer, script, order);

  std::string out = "# Graph " + python_quoted(graph.name()) + " under plain PyTorch:\n";
  out += "#   python transformed_code.py --inputs IN.safetensors --outputs OUT.safetensors\n";
  out += kPythonImports;
  out += "\n# The device as traced; --device puts another in its place.\n";
  out += "DEVICE = " + spell_device(script.main_device) + "\n";
  out += "WEIGHTS_FILE = " + python_quoted(options.weights_file) + "\n";
  out += "WEIGHTS = {\n" + SlotWriter(script).rows(graph, NodeKind::kGetAttr) + "}\n";
  out += "INPUTS = {\n" + SlotWriter(script).rows(graph, NodeKind::kPlaceholder) + "}\n\n";
  for (const Graph* g : order) {
    out += "\n" + FunctionWriter(*g, script, namer).write(g != &graph) + "\n";
  }
  return out + std::string(kPythonMain);
}

}  // namespace monograph::ir
