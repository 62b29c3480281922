#include "capture/ir/text.h"

#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <type_traits>

#include "capture/ir/extent.h"
#include "capture/ir/spelling.h"

namespace monograph::ir {
namespace {

/// The value that names a storage in text: the first one that lives in it.
struct Definer {
  const Node* node = nullptr;
  std::size_t index = 0;
};

/// Comma-separated items between brackets that vanish if there are none.
class Items {
 public:
  void add(const std::string& item) { body_ += (body_.empty() ? "" : ", ") + item; }
  std::string in(char open, char close) const {
    return body_.empty() ? std::string() : open + body_ + close;
  }

 private:
  std::string body_;
};

std::string ints(const std::vector<std::int64_t>& values, const char* separator) {
  std::string out = "[";
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i != 0) out += separator;
    out += std::to_string(values[i]);
  }
  return out + "]";
}

std::string spell_scalar(double value) {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  constexpr auto kNaN = std::bit_cast<std::uint64_t>(std::numeric_limits<double>::quiet_NaN());
  if (!std::isnan(value) || bits == kNaN) return spell_double(value);
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "nan(0x%016llx)", static_cast<unsigned long long>(bits));
  return buffer;
}

std::string reference(const Node& node) {
  return "%" + node.name();
}

/// "(a, b)" as Python prints tuples: "(a,)" and "()".
template <class Range, class Spell>
std::string tuple(const Range& items, Spell spell) {
  std::string out = "(";
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i != 0) out += ", ";
    out += spell(items[i]);
  }
  return out + (items.size() == 1 ? ",)" : ")");
}

struct ArgSpeller {
  std::string operator()(std::monostate) const { return "None"; }
  std::string operator()(bool v) const { return v ? "True" : "False"; }
  std::string operator()(std::int64_t v) const { return std::to_string(v); }
  std::string operator()(double v) const { return spell_scalar(v); }
  std::string operator()(const std::complex<double>& v) const {
    return "complex(" + spell_scalar(v.real()) + ", " + spell_scalar(v.imag()) + ")";
  }
  std::string operator()(const std::string& v) const { return quoted(v); }
  std::string operator()(DType v) const {
    return v == DType::kUndefined ? "torch.undefined" : std::string(python_dtype_name(v));
  }
  std::string operator()(const Device& v) const { return to_string(v); }
  std::string operator()(Layout v) const { return std::string(layout_name(v)); }
  std::string operator()(MemoryFormat v) const { return std::string(memory_format_name(v)); }
  std::string operator()(const Node* v) const { return v == nullptr ? "%?" : reference(*v); }
  std::string operator()(const Arg::List& list) const {
    std::string out = "[";
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (i != 0) out += ", ";
      out += text(list[i]);
    }
    return out + "]";
  }
};

std::string spell_args(const std::vector<Arg>& args) {
  return tuple(args, [](const Arg& a) { return text(a); });
}

std::string spell_kwargs(const Kwargs& kwargs) {
  std::string out = "{";
  for (const auto& [key, value] : kwargs) {
    if (out.size() > 1) out += ", ";
    out += (is_identifier(key) ? key : quoted(key)) + ": " + text(value);
  }
  return out + "}";
}

std::string spell_type(const TensorType& type, const Items& attributes) {
  std::string out(dtype_name(type.dtype));
  if (type.defined() || !type.sizes.empty()) out += ints(type.sizes, ",");
  return out + attributes.in('{', '}');
}

Items type_attributes(const TensorType& type) {
  Items items;
  if (!checked_extent(type) || type.strides != contiguous_strides(type.sizes)) {
    items.add("strides=" + ints(type.strides, ","));
  }
  if (type.offset != 0) items.add("offset=" + std::to_string(type.offset));
  if (type.device != Device{}) items.add("device=" + short_device(type.device));
  return items;
}

std::string spell_metadata(const Node& node) {
  std::string out;
  if (!node.module_path.empty()) out += " in " + quoted(node.module_path);
  if (!node.source.empty()) out += " at " + quoted(node.source);
  return out;
}

void add_traits(const Node& node, Items& items) {
  std::vector<std::string> traits;
  if (node.traits.random) traits.emplace_back("random");
  if (node.traits.nondeterministic) traits.emplace_back("nondeterministic");
  if (!traits.empty()) {
    items.add("traits=" + tuple(traits, [](const std::string& t) { return t; }));
  }
}

/// Prints one graph; nodes must come in order, because the first mention of a storage defines it.
class Printer {
 public:
  explicit Printer(const Graph& graph) : graph_(graph), definers_(graph.storages().size()) {}

  void print(std::string& out, const std::string& indent) {
    const std::string& name = graph_.name();
    out += (is_identifier(name) ? name : quoted(name)) + " {\n";
    for (const auto& node : graph_.nodes()) out += indent + "  " + line(*node) + "\n";
    for (const auto& [key, sub] : graph_.subgraphs()) {
      out += indent + "  subgraph ";
      if (key != sub->name()) out += (is_identifier(key) ? key : quoted(key)) + " = ";
      Printer(*sub).print(out, indent + "  ");
    }
    out += indent + "}\n";
  }

  std::string line(const Node& node) {
    if (node.kind() == NodeKind::kOutput) return output_line(node);
    std::string out = reference(node);
    if (node.is_list()) {
      std::size_t index = 0;
      out += " : " + tuple(node.values(), [&](const Value& v) { return value(node, v, index++); });
    } else if (!node.values().empty()) {
      out += " : " + value(node, node.values().front(), 0);
    }
    out += " = " + std::string(node_kind_name(node.kind())) + brackets(node);
    if (node.kind() == NodeKind::kCallFunction) {
      out +=
          "(args = " + spell_args(node.args()) + ", kwargs = " + spell_kwargs(node.kwargs()) + ")";
    }
    return out + spell_metadata(node);
  }

  /// Takes note of what `node` defines without printing it.
  void pass_over(const Node& node) {
    for (std::size_t i = 0; i < node.values().size(); ++i) {
      Definer* const definer = find(node.values()[i].storage);
      if (definer != nullptr && definer->node == nullptr) *definer = {&node, i};
    }
  }

 private:
  Definer* find(StorageId id) {
    const bool known = id >= 0 && static_cast<std::size_t>(id) < definers_.size();
    return known ? &definers_[static_cast<std::size_t>(id)] : nullptr;
  }

  std::string value(const Node& node, const Value& v, std::size_t index) {
    Items items = type_attributes(v.type);
    Definer* const definer = find(v.storage);
    if (definer == nullptr) {
      if (v.type.defined()) items.add("alias=%?");  // unverified graphs print, too
    } else if (definer->node == nullptr) {
      *definer = {&node, index};
      add_storage(node, v, items);
    } else {
      std::string alias = "alias=" + reference(*definer->node);
      if (definer->node->is_list()) alias += "#" + std::to_string(definer->index);
      items.add(alias);
    }
    return spell_type(v.type, items);
  }

  /// What can't be guessed of a storage from the value that defines it.
  void add_storage(const Node& node, const Value& v, Items& items) const {
    const Storage& storage = graph_.storage(v.storage);
    const bool is_call = node.kind() == NodeKind::kCallFunction;
    if (checked_extent(v.type) != storage.nbytes) {
      items.add("bytes=" + std::to_string(storage.nbytes));
    }
    if (storage.name != (is_call ? std::string() : node.target())) {
      items.add("storage=" + word_or_quoted(storage.name));
    }
    const StorageKind usual = is_call ? StorageKind::kIntermediate : StorageKind::kInput;
    if (node.kind() != NodeKind::kGetAttr && storage.kind != usual) {
      items.add("kind=" + std::string(storage_kind_name(storage.kind)));
    }
  }

  std::string brackets(const Node& node) {
    Items items;
    items.add("target=" + word_or_quoted(node.target()));
    if (node.kind() == NodeKind::kGetAttr && node.has_tensor() && find(node.storage()) != nullptr) {
      items.add("kind=" + std::string(storage_kind_name(graph_.storage(node.storage()).kind)));
    }
    if (!node.writes().empty()) {
      items.add("writes=" + tuple(node.writes(), [](const Node* n) { return reference(*n); }));
    }
    add_traits(node, items);
    return items.in('[', ']');
  }

  static std::string output_line(const Node& node) {
    Items items;
    if (node.name() != "output") items.add("name=" + node.name());
    add_traits(node, items);
    return "return" + items.in('[', ']') + " " + spell_args(node.args()) + spell_metadata(node);
  }

  const Graph& graph_;
  std::vector<Definer> definers_;  // by storage id
};

}  // namespace

std::string text(const Graph& graph) {
  std::string out = "graph ";
  Printer(graph).print(out, "");
  return out;
}

std::string text(const Node& node) {
  Printer printer(node.graph());
  for (const auto& n : node.graph().nodes()) {
    if (n.get() == &node) break;
    printer.pass_over(*n);
  }
  return printer.line(node);
}

std::string text(const TensorType& type) {
  return spell_type(type, type_attributes(type));
}

std::string text(const Arg& arg) {
  return std::visit(ArgSpeller{}, arg.variant());
}

}  // namespace monograph::ir
