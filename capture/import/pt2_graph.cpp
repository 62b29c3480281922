#include "capture/import/pt2_graph.h"

#include <fmt/format.h>

#include <set>
#include <string_view>

#include "capture/import/json.h"
#include "capture/import/safetensors_header.h"

namespace monograph::importer {
namespace {

constexpr std::string_view kSymbolPrefix = "Symbol('";

/// Graphs of higher-order operators nest; more levels than this nobody writes.
constexpr int kMaxGraphDepth = 8;

std::optional<ir::DeviceType> device_type(const std::string& name) {
  if (name == "cpu") return ir::DeviceType::kCpu;
  if (name == "cuda") return ir::DeviceType::kCuda;
  if (name == "meta") return ir::DeviceType::kMeta;
  return std::nullopt;
}

ir::Device device(const JsonValue& value) {
  const JsonValue type = value.at("type");
  const auto known = device_type(type.string());
  if (!known) type.fail("a device other than cpu, cuda and meta: " + in_quotes(type.string()));
  const std::int64_t index = value.has("index") ? value.at("index").integer() : -1;
  constexpr std::int64_t kMostDevices = 1024;
  if (index < -1 || index > kMostDevices) value.at("index").fail("out of range");
  return {*known, static_cast<std::int32_t>(index)};
}

ir::DType dtype(const JsonValue& value) {
  const ir::DType type = pt2_dtype(value.integer());
  if (type == ir::DType::kUndefined) value.fail("an element type that isn't supported");
  return type;
}

ir::MemoryFormat memory_format(const JsonValue& value) {
  switch (value.integer()) {
    case 1:
      return ir::MemoryFormat::kContiguous;
    case 2:
      return ir::MemoryFormat::kChannelsLast;
    case 3:
      return ir::MemoryFormat::kChannelsLast3d;
    case 4:
      return ir::MemoryFormat::kPreserve;
    default:
      value.fail("an unknown memory format");
  }
}

/// One graph. Names must be defined before they are used, and once.
class GraphReader {
 public:
  explicit GraphReader(int depth) : depth_(depth) {}

  Pt2Graph read(const JsonValue& json) {
    Pt2Graph graph;
    if (depth_ > kMaxGraphDepth) json.fail("graphs nested too deeply");
    const JsonValue inputs = json.at("inputs");
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      graph.inputs.push_back(argument(inputs[i], Use::kDefine));
      describe_input(json, graph.inputs.back(), graph);
    }
    const JsonValue nodes = json.at("nodes");
    graph.nodes.reserve(nodes.size());
    for (std::size_t i = 0; i < nodes.size(); ++i) graph.nodes.push_back(node(nodes[i]));
    const JsonValue outputs = json.at("outputs");
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      graph.outputs.push_back(argument(outputs[i], Use::kRead));
    }
    return graph;
  }

 private:
  enum class Use { kRead, kDefine };

  Pt2Argument name(const JsonValue& value, Use use) {
    const std::string& text = value.string();
    if (use == Use::kDefine) {
      if (!names_.insert(text).second) value.fail(in_quotes(text) + " is defined twice");
    } else if (!names_.contains(text)) {
      value.fail(in_quotes(text) + " is used before it is defined");
    }
    return {Pt2Name{text}};
  }

  template <class Fn>
  static Pt2Argument list(const JsonValue& value, Fn&& element) {
    Pt2Argument::List items;
    items.reserve(value.size());
    for (std::size_t i = 0; i < value.size(); ++i) items.push_back(element(value[i]));
    return {std::move(items)};
  }

  /// {"as_name": ...} or a number written in place.
  Pt2Argument symbolic(const JsonValue& value, Use use) {
    const std::string& tag = value.tag();
    if (tag == "as_name") return name(value.at("as_name"), use);
    return scalar(tag, value.at(tag.c_str()));
  }

  Pt2Argument scalar(const std::string& tag, const JsonValue& v) const {
    if (tag == "as_int") return {v.integer()};
    if (tag == "as_float") return {v.number()};
    if (tag == "as_bool") return {v.boolean()};
    if (tag == "as_string") return {v.string()};
    if (tag == "as_none") return {};
    if (tag == "as_complex") {
      return {std::complex<double>(v.at("real").number(), v.at("imag").number())};
    }
    if (tag == "as_scalar_type") return {dtype(v)};
    if (tag == "as_memory_format") return {memory_format(v)};
    if (tag == "as_device") return {device(v)};
    if (tag == "as_layout") {
      return {v.integer() == 7 ? ir::Layout::kStrided : ir::Layout::kOther};
    }
    v.fail("an argument of unknown kind \"" + tag + "\"");
  }

  Pt2Argument argument(const JsonValue& value, Use use) {
    const std::string& tag = value.tag();
    const JsonValue v = value.at(tag.c_str());
    const auto tensor = [&](const JsonValue& t) { return name(t.at("name"), use); };
    const auto optional = [&](const JsonValue& t) {
      return t.tag() == "as_none" ? Pt2Argument{} : tensor(t.at("as_tensor"));
    };
    if (tag == "as_tensor") return tensor(v);
    if (tag == "as_optional_tensor") return optional(v);
    if (tag == "as_tensors") return list(v, tensor);
    if (tag == "as_optional_tensors") return list(v, optional);
    if (tag == "as_nested_tensors") {
      return list(v, [&](const JsonValue& inner) { return list(inner, tensor); });
    }
    if (tag == "as_sym_int" || tag == "as_sym_float" || tag == "as_sym_bool") {
      return symbolic(v, use);
    }
    if (tag == "as_sym_ints" || tag == "as_sym_floats" || tag == "as_sym_bools") {
      return list(v, [&](const JsonValue& s) { return symbolic(s, use); });
    }
    if (tag == "as_int_lists" || tag == "as_float_lists") {
      const std::string element = tag.substr(0, tag.size() - 6);
      return list(v, [&](const JsonValue& inner) {
        return list(inner, [&](const JsonValue& n) { return scalar(element, n); });
      });
    }
    if (tag == "as_ints" || tag == "as_floats" || tag == "as_bools" || tag == "as_strings") {
      const std::string element = tag.substr(0, tag.size() - 1);
      return list(v, [&](const JsonValue& n) { return scalar(element, n); });
    }
    if (tag == "as_custom_obj") {
      return {Pt2Foreign{"custom object of class " + in_quotes(v.at("class_fqn").string())}};
    }
    if (tag == "as_operator") return {Pt2Foreign{"operator " + in_quotes(v.string())}};
    if (tag == "as_string_to_argument") return {Pt2Foreign{"dictionary"}};
    if (tag == "as_graph") {
      return {std::make_shared<const Pt2Graph>(GraphReader(depth_ + 1).read(v.at("graph")))};
    }
    return scalar(tag, v);
  }

  static Pt2Dimension dimension(const JsonValue& value) {
    Pt2Dimension d;
    if (value.tag() == "as_int") {
      d.size = value.at("as_int").integer();
      if (*d.size < 0) value.at("as_int").fail("a negative size");
      return d;
    }
    const JsonValue expression = value.at("as_expr");
    const std::string& text = expression.at("expr_str").string();
    // "Symbol('s77', positive=True, integer=True)" as a whole, or "s77" as older writers have it.
    if (text.starts_with(kSymbolPrefix) &&
        text.find('(', kSymbolPrefix.size()) == std::string::npos) {
      const std::size_t end = text.find('\'', kSymbolPrefix.size());
      if (end != std::string::npos && text.ends_with(')') && text.find(')') == text.size() - 1) {
        d.symbol = text.substr(kSymbolPrefix.size(), end - kSymbolPrefix.size());
      }
    } else if (text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") ==
               std::string::npos) {
      d.symbol = text;
    }
    d.hint = hint(expression);
    return d;
  }

  static std::optional<std::int64_t> hint(const JsonValue& expression) {
    if (!expression.has("hint")) return std::nullopt;
    const JsonValue hint = expression.at("hint");
    if (hint.tag() != "as_int") return std::nullopt;
    return hint.at("as_int").integer();
  }

  static void describe_input(const JsonValue& json, const Pt2Argument& input, Pt2Graph& graph) {
    const auto* name = input.get_if<Pt2Name>();
    if (name == nullptr) return;
    const JsonValue tensors = json.at("tensor_values");
    if (tensors.has(name->name.c_str())) {
      const JsonValue meta = tensors.at(name->name.c_str());
      Pt2TensorMeta known;
      known.dtype = dtype(meta.at("dtype"));
      known.device = device(meta.at("device"));
      const JsonValue sizes = meta.at("sizes");
      for (std::size_t i = 0; i < sizes.size(); ++i) known.sizes.push_back(dimension(sizes[i]));
      graph.tensors.emplace(name->name, std::move(known));
      return;
    }
    const JsonValue symbols = json.at("sym_int_values");
    if (!symbols.has(name->name.c_str())) return;
    const JsonValue symbol = symbols.at(name->name.c_str());
    const bool number = symbol.tag() == "as_int";
    graph.hints[name->name] = number ? symbol.at("as_int").integer() : hint(symbol.at("as_expr"));
  }

  Pt2Node node(const JsonValue& json) {
    Pt2Node node;
    node.target = json.at("target").string();
    if (json.has("name")) node.name = json.at("name").string();
    const JsonValue inputs = json.at("inputs");
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      node.inputs.emplace_back(inputs[i].at("name").string(),
                               argument(inputs[i].at("arg"), Use::kRead));
    }
    const JsonValue outputs = json.at("outputs");
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      node.outputs.push_back(argument(outputs[i], Use::kDefine));
    }
    if (json.has("metadata")) read_metadata(json.at("metadata"), node);
    return node;
  }

  static void read_metadata(const JsonValue& metadata, Pt2Node& node) {
    if (metadata.has("stack_trace")) node.stack_trace = metadata.at("stack_trace").string();
    if (!metadata.has("nn_module_stack")) return;
    // "key,path,class;key,path,class;...", outermost first.
    std::string_view stack = metadata.at("nn_module_stack").string();
    stack.remove_prefix(std::min(stack.rfind(';') + 1, stack.size()));
    const std::size_t first = stack.find(',');
    if (first == std::string_view::npos) return;
    stack.remove_prefix(first + 1);
    const std::string_view path = stack.substr(0, stack.find(','));
    if (path != "_empty_nn_module_stack_from_metadata_hook") node.module_path = path;
  }

  int depth_;
  std::set<std::string, std::less<>> names_;
};

Pt2InputSpec input_spec(const JsonValue& value) {
  using Kind = Pt2InputSpec::Kind;
  const std::string& tag = value.tag();
  const JsonValue v = value.at(tag.c_str());
  const auto named = [&](Kind kind, const char* field) {
    return Pt2InputSpec{kind, v.at("arg").at("name").string(), v.at(field).string()};
  };
  if (tag == "parameter") return named(Kind::kParameter, "parameter_name");
  if (tag == "buffer") return named(Kind::kBuffer, "buffer_name");
  if (tag == "tensor_constant") return named(Kind::kTensorConstant, "tensor_constant_name");
  if (tag == "constant_input") return {Kind::kConstant, {}, {}};
  if (tag == "custom_obj") value.fail("custom objects aren't read");
  if (tag == "token") value.fail("effect tokens aren't supported");
  if (tag != "user_input") value.fail("an input of unknown kind");
  return {Kind::kUser, {}, {}};
}

Pt2OutputSpec output_spec(const JsonValue& value) {
  using Kind = Pt2OutputSpec::Kind;
  const std::string& tag = value.tag();
  const JsonValue v = value.at(tag.c_str());
  if (tag == "user_output") return {Kind::kUser, {}};
  if (tag == "buffer_mutation") return {Kind::kBufferMutation, v.at("buffer_name").string()};
  if (tag == "parameter_mutation") {
    return {Kind::kParameterMutation, v.at("parameter_name").string()};
  }
  if (tag == "user_input_mutation") {
    return {Kind::kInputMutation, v.at("user_input_name").string()};
  }
  return {Kind::kOther, tag};
}

/// Reads the signature and holds it against the graph's inputs and the archive's tensors.
void read_signature(const JsonValue& signature, const Pt2Archive& archive, Pt2Model& model) {
  const JsonValue inputs = signature.at("input_specs");
  if (inputs.size() != model.graph.inputs.size()) {
    inputs.fail(fmt::format("{} specs for {} inputs of the graph", inputs.size(),
                            model.graph.inputs.size()));
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Pt2InputSpec spec = input_spec(inputs[i]);
    const auto* name = model.graph.inputs[i].get_if<Pt2Name>();
    const bool weight =
        spec.kind != Pt2InputSpec::Kind::kUser && spec.kind != Pt2InputSpec::Kind::kConstant;
    if (weight && (name == nullptr || name->name != spec.name)) {
      inputs[i].fail("names another input than the graph has in its place");
    }
    if (weight && !archive.tensors.contains(spec.target)) {
      inputs[i].fail("the archive has no tensor " + in_quotes(spec.target));
    }
    if (name != nullptr) spec.name = name->name;
    model.input_specs.push_back(std::move(spec));
  }
  const JsonValue outputs = signature.at("output_specs");
  if (outputs.size() != model.graph.outputs.size()) {
    outputs.fail(fmt::format("{} specs for {} outputs of the graph", outputs.size(),
                             model.graph.outputs.size()));
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    model.output_specs.push_back(output_spec(outputs[i]));
  }
}

void read_ranges(const JsonValue& ranges, Pt2Model& model) {
  for (const std::string& symbol : ranges.keys()) {
    const JsonValue range = ranges.at(symbol.c_str());
    Pt2Range known;
    if (range.has("min_val")) known.least = range.at("min_val").integer();
    if (range.has("max_val")) known.greatest = range.at("max_val").integer();
    model.ranges.emplace(symbol, known);
  }
}

void read_trees(const JsonValue& calls, Pt2Model& model) {
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (!calls[i].at("fqn").string().empty() || !calls[i].has("signature")) continue;
    const JsonValue signature = calls[i].at("signature");
    model.in_spec = signature.at("in_spec").string();
    model.out_spec = signature.at("out_spec").string();
    return;
  }
}

}  // namespace

Pt2Model read_pt2_model(const Pt2Archive& archive) {
  const std::string where = archive.path + ": " + archive.model_entry;
  const JsonValue root(archive.model, where);
  const JsonValue module = root.at("graph_module");
  Pt2Model model;
  model.graph = GraphReader(0).read(module.at("graph"));
  read_signature(module.at("signature"), archive, model);
  if (root.has("range_constraints")) read_ranges(root.at("range_constraints"), model);
  if (module.has("module_call_graph")) read_trees(module.at("module_call_graph"), model);
  if (root.has("torch_version")) model.torch_version = root.at("torch_version").string();
  return model;
}

}  // namespace monograph::importer
