#include "kernels/fusion/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>

#include "kernels/elementwise/elementwise.h"

namespace monograph::kernels::fusion {
namespace {

constexpr int kMostSplits = 32;
constexpr std::size_t kMostNodes = 400;

std::int64_t product(const std::vector<std::int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{1}, std::multiplies<>());
}

}  // namespace

DType value_type(DType dtype) noexcept {
  return compute_type(dtype);
}

bool writes_state(const Step& step) noexcept {
  return step.op == "aten.index_copy_.default";
}

Builder::Builder(const Call& call, const Body& body, Wanted wanted,
                 std::optional<External> external)
    : call_(call), body_(body), wanted_(std::move(wanted)), external_(external) {}

int Builder::fail(std::string why) {
  if (reason_.empty()) reason_ = std::move(why);
  return -1;
}

const TensorDesc& Builder::desc(std::int32_t value) const {
  const auto v = static_cast<std::size_t>(value);
  return v < call_.inputs.size() ? call_.inputs[v] : body_.steps[v - call_.inputs.size()].output;
}

std::int64_t Builder::size_of(const std::vector<int>& axes) const {
  std::int64_t n = 1;
  for (const int a : axes) n *= axis_size(a);
  return n;
}

int Builder::add(Node node) {
  const auto same = std::find(program_.nodes.begin(), program_.nodes.end(), node);
  if (same != program_.nodes.end()) return static_cast<int>(same - program_.nodes.begin());
  if (program_.nodes.size() >= kMostNodes) return fail("too large a fusion");
  program_.nodes.push_back(std::move(node));
  return static_cast<int>(program_.nodes.size()) - 1;
}

int Builder::compute(DType compute, DType type, std::string text, std::vector<int> args) {
  if (std::find(args.begin(), args.end(), -1) != args.end()) return -1;
  Node n;
  n.kind = Node::Kind::kCompute;
  n.type = type;
  n.compute = compute;
  n.text = std::move(text);
  n.args = std::move(args);
  return add(std::move(n));
}

int Builder::number(double v, DType type) {
  return compute(type, type, literal(v, type), {});
}

int Builder::number(std::int64_t v, DType type) {
  return compute(type, type, literal(v, type), {});
}

int Builder::reduce(ReduceKind kind, int node, const std::vector<int>& axes) {
  if (node < 0) return -1;
  if (is_part(axes)) return fail("a reduction of part of a row");
  std::vector<int> sorted = axes;
  std::sort(sorted.begin(), sorted.end());
  if (reduced_.empty()) reduced_ = sorted;
  if (reduced_ != sorted) return fail("reductions along different dimensions");
  Node n;
  n.kind = Node::Kind::kReduce;
  n.reduce = kind;
  const bool index = kind == ReduceKind::kArgMax || kind == ReduceKind::kArgMin;
  n.compute = program_.nodes[static_cast<std::size_t>(node)].type;
  if (n.compute == DType::kBool) return fail("a reduction of booleans");
  n.type = index ? DType::kI64 : n.compute;
  n.args = {node};
  return add(std::move(n));
}

int Builder::operand(const Argument& argument, const Mapping& mapping, DType type) {
  if (argument.is_tensor()) {
    const std::int32_t v = argument.tensors.front();
    const auto m = broadcast(mapping, desc(v).sizes);
    if (!m) return fail("an operand that doesn't broadcast");
    return value(v, *m);
  }
  if (const auto* d = std::get_if<double>(&argument.scalar)) return number(*d, type);
  if (const auto* i = std::get_if<std::int64_t>(&argument.scalar)) return number(*i, type);
  if (const auto* b = std::get_if<bool>(&argument.scalar)) {
    return number(std::int64_t{*b ? 1 : 0}, type);
  }
  return fail("an operand is neither tensor nor number");
}

int Builder::value(std::int32_t value, const Mapping& mapping) {
  if (!reason_.empty() || split_) return -1;
  const auto key = std::pair(value, mapping);
  if (const auto known = memo_.find(key); known != memo_.end()) return known->second;
  if (std::none_of(mapping.begin(), mapping.end(), is_part)) seen_.try_emplace(value, mapping);
  int node = -1;
  if (external_ && external_->value == value) {
    node = external_->parts == 1 ? external(desc(value), 0, mapping)
                                 : fail("the whole packed projection");
  } else if (static_cast<std::size_t>(value) < call_.inputs.size()) {
    node = load(value, desc(value), 0, mapping);
  } else {
    node = step_node(body_.steps[static_cast<std::size_t>(value) - call_.inputs.size()], mapping);
  }
  if (node >= 0) memo_.emplace(key, node);
  return node;
}

int Builder::external(const TensorDesc& d, std::int64_t offset, const Mapping& mapping) {
  if (std::any_of(mapping.begin(), mapping.end(), is_part)) return fail("part of the product");
  std::size_t next = 0;
  if (external_->any_order) {
    if (!program_.external.empty() && program_.external != mapping) {
      return fail("looked at in several orders");
    }
    program_.external = mapping;
  }
  for (const auto& list : mapping) {
    for (const int a : list) {
      if (a != static_cast<int>(next++) && !external_->any_order)
        return fail("the product is not used in its own order");
    }
  }
  if (next != program_.axes.size()) return fail("the product is broadcast");
  const std::int64_t last = d.sizes.empty() ? 1 : d.sizes.back();
  if (external_->parts > 1 && (offset % last != 0 || offset / last >= external_->parts)) {
    return fail("an unequal slice of the projection");
  }
  Node n;
  n.kind = Node::Kind::kExternal;
  n.part = offset / last;
  return add(std::move(n));
}

Operand Builder::make_operand(std::int32_t tensor, const TensorDesc& d, std::int64_t offset,
                              const Mapping& mapping) const {
  Operand o;
  o.tensor = tensor;
  o.dtype = d.dtype;
  o.alignment = d.alignment;
  o.offset = offset;
  o.strides.assign(program_.axes.size(), 0);
  for (std::size_t dim = 0; dim < mapping.size(); ++dim) {
    std::int64_t stride = d.strides[dim];
    for (std::size_t k = mapping[dim].size(); k-- > 0;) {
      const int axis = mapping[dim][k];
      if (axis < 0) {
        o.offset += stride * fixed_[static_cast<std::size_t>(-1 - axis)].place;
      } else {
        o.strides[static_cast<std::size_t>(axis)] += stride;
      }
      stride *= axis_size(axis);
    }
  }
  return o;
}

int Builder::load(std::int32_t input, const TensorDesc& d, std::int64_t offset,
                  const Mapping& mapping) {
  Operand o = make_operand(input, d, offset, mapping);
  // Alignment is known of the input's first element.
  o.alignment = call_.inputs[static_cast<std::size_t>(input)].alignment;
  const std::int64_t bytes = o.offset * itemsize(d.dtype);
  while (o.alignment > 1 && bytes % o.alignment != 0) o.alignment /= 2;
  return load_operand(std::move(o), value_type(d.dtype));
}

int Builder::load_operand(Operand o, DType type) {
  o.strides.resize(program_.axes.size(), 0);
  const auto same = [&o](const Operand& other) {
    Operand wide = other;  // axes may have been added since
    wide.strides.resize(o.strides.size(), 0);
    return wide == o;
  };
  auto at = std::find_if(program_.loads.begin(), program_.loads.end(), same);
  Node n;
  n.kind = Node::Kind::kLoad;
  n.operand = static_cast<int>(at - program_.loads.begin());
  n.type = type;
  for (const Gather& g : o.gathers) n.args.push_back(g.node);
  if (at == program_.loads.end()) program_.loads.push_back(std::move(o));
  return add(std::move(n));
}

int Builder::gather(const Argument& argument, const Mapping& mapping, std::size_t dim, int index) {
  if (index < 0 || !argument.is_tensor()) return fail("a lookup in no tensor");
  const std::int32_t from = argument.tensors.front();
  if (static_cast<std::size_t>(from) >= call_.inputs.size()) return fail("a lookup in a result");
  const TensorDesc& d = desc(from);
  Operand o = make_operand(from, d, 0, mapping);
  o.gathers.push_back({index, d.strides[dim]});
  return load_operand(std::move(o), value_type(d.dtype));
}

int Builder::coordinate(const std::vector<int>& axes) {
  if (is_part(axes)) return fail("a concatenation of which part is used");
  Operand o;
  o.tensor = Operand::kCoordinate;
  o.dtype = DType::kI64;
  o.strides.assign(program_.axes.size(), 0);
  std::int64_t stride = 1;
  for (std::size_t k = axes.size(); k-- > 0;) {
    o.strides[static_cast<std::size_t>(axes[k])] = stride;
    stride *= program_.axes[static_cast<std::size_t>(axes[k])];
  }
  return load_operand(std::move(o), DType::kI64);
}

int Builder::step_node(const Step& step, const Mapping& mapping) {
  if (writes_state(step)) return fail("a result that has been written to state");
  if (step.alias >= 0) {
    if (external_ && step.alias == external_->value && !external_->any_order) {
      const TensorDesc& all = desc(step.alias);
      const bool rows =
          step.output.sizes.size() == all.sizes.size() &&
          std::equal(all.sizes.begin(), all.sizes.end() - 1, step.output.sizes.begin());
      if (rows) return external(step.output, step.offset, mapping);
    } else if (static_cast<std::size_t>(step.alias) < call_.inputs.size()) {
      return load(step.alias, step.output, step.offset, mapping);
    }
    return view_node(step, mapping);
  }
  for (const Definition& d : definitions()) {
    if (d.expand && std::find(d.ops.begin(), d.ops.end(), step.op) != d.ops.end()) {
      return d.expand(*this, step, mapping);
    }
  }
  return view_node(step, mapping);
}

std::vector<int> Builder::new_axes(const std::vector<std::int64_t>& factors, int home) {
  std::vector<int> axes;
  for (std::size_t k = 0; k < factors.size(); ++k) {
    if (factors[k] == 1) continue;
    axes.push_back(static_cast<int>(program_.axes.size()));
    program_.axes.push_back(factors[k]);
    axis_home_.push_back(home);
    axis_rank_.push_back(static_cast<int>(k));
  }
  return axes;
}

std::vector<int> Builder::reduction_axes(const std::vector<std::int64_t>& sizes,
                                         const Mapping& kept) {
  const std::int64_t wants = product(sizes);
  if (!reduced_.empty()) {
    if (size_of(reduced_) != wants) fail("reductions of different lengths");
    return reduced_;
  }
  std::vector<bool> used(program_.axes.size(), false);
  for (const auto& list : kept) {
    for (const int a : list) {
      if (a >= 0) used[static_cast<std::size_t>(a)] = true;
    }
  }
  std::vector<int> free;
  for (std::size_t a = 0; a < used.size(); ++a) {
    if (!used[a]) free.push_back(static_cast<int>(a));
  }
  if (size_of(free) == wants) return free;
  std::vector<int> axes;
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    if (row_factors_.size() <= d) row_factors_.push_back({sizes[d]});
    const auto more = new_axes(row_factors_[d], -1 - static_cast<int>(d));
    axes.insert(axes.end(), more.begin(), more.end());
  }
  return axes;
}

bool Builder::store_outputs(std::size_t main, const Mapping& mapping) {
  std::vector<std::size_t> order{main};
  for (const std::size_t o : wanted_.outputs) {
    if (o != main) order.push_back(o);
  }
  for (const std::size_t o : order) {
    const std::int32_t v = body_.outputs[o];
    Mapping m = mapping;
    if (call_.outputs[o].sizes != call_.outputs[main].sizes) {
      const auto known = seen_.find(v);
      if (known == seen_.end()) return fail("results of different shapes") >= 0;
      m = known->second;
    }
    const int node = value(v, m);
    if (node < 0) return false;
    program_.stores.push_back(
        {node, make_operand(static_cast<std::int32_t>(o), call_.outputs[o], 0, m)});
  }
  return true;
}

/// aten.index_copy_(state, dim, index, source): row index[i] of the state becomes row i of source.
bool Builder::store_effect(const Mapping& mapping) {
  const Step& step = body_.steps[static_cast<std::size_t>(wanted_.effect)];
  const auto* d = std::get_if<std::int64_t>(&step.args[1].scalar);
  const std::int32_t state = step.alias;
  if (d == nullptr || state < 0 || static_cast<std::size_t>(state) >= call_.inputs.size()) {
    return fail("a write to something that is no argument") >= 0;
  }
  const TensorDesc& target = call_.inputs[static_cast<std::size_t>(state)];
  const auto dim =
      static_cast<std::size_t>(*d < 0 ? *d + static_cast<std::int64_t>(target.sizes.size()) : *d);
  const int node = value(step.args[3].tensors.front(), mapping);
  const Mapping along{mapping[dim]};
  const int index = desc(step.args[2].tensors.front()).sizes.empty()
                        ? value(step.args[2].tensors.front(), {})
                        : value(step.args[2].tensors.front(), along);
  if (node < 0 || index < 0) return false;
  Mapping m = mapping;
  m[dim].clear();
  Operand o = make_operand(state, target, 0, m);
  o.state = true;
  o.gathers.push_back({index, target.strides[dim]});
  program_.stores.push_back({node, std::move(o)});
  return true;
}

/// What is only known once everything has been walked: which nodes are constant along reduced axes,
/// and that every result fills what it is stored to.
bool Builder::finish() {
  program_.reduced.assign(program_.axes.size(), false);
  for (const int a : reduced_) program_.reduced[static_cast<std::size_t>(a)] = true;
  for (Operand& o : program_.loads) o.strides.resize(program_.axes.size(), 0);
  for (Store& s : program_.stores) s.operand.strides.resize(program_.axes.size(), 0);
  for (Node& n : program_.nodes) {
    n.level = 0;
    n.row = n.kind != Node::Kind::kExternal;
    for (const int a : n.args) {
      const Node& arg = program_.nodes[static_cast<std::size_t>(a)];
      n.level = std::max(n.level, arg.level);
      n.row = n.row && arg.row;
    }
    if (n.kind == Node::Kind::kReduce) {
      n.row = true;
      ++n.level;
    }
    if (n.kind != Node::Kind::kLoad) continue;
    const Operand& o = program_.loads[static_cast<std::size_t>(n.operand)];
    for (std::size_t a = 0; a < o.strides.size(); ++a) {
      if (program_.reduced[a] && o.strides[a] != 0) n.row = false;
    }
  }
  for (const Store& s : program_.stores) {
    const bool row = program_.nodes[static_cast<std::size_t>(s.node)].row;
    for (std::size_t a = 0; a < program_.axes.size(); ++a) {
      if (s.operand.strides[a] == 0 && !(program_.reduced[a] && row) && !s.operand.state) {
        return fail("results of different shapes") >= 0;
      }
    }
  }
  return true;
}

std::optional<Program> Builder::attempt() {
  program_ = {};
  axis_home_.clear();
  axis_rank_.clear();
  reduced_.clear();
  memo_.clear();
  seen_.clear();
  fixed_.clear();
  const bool effect = wanted_.effect >= 0;
  std::size_t main = effect ? 0 : wanted_.outputs.front();
  for (const std::size_t o : wanted_.outputs) {
    if (call_.outputs[o].numel() > call_.outputs[main].numel()) main = o;
  }
  const std::vector<std::int64_t>& sizes =
      effect ? desc(body_.steps[static_cast<std::size_t>(wanted_.effect)].args[3].tensors.front())
                   .sizes
             : call_.outputs[main].sizes;
  Mapping mapping(sizes.size());
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    if (factors_.size() <= d) factors_.push_back({sizes[d]});
    mapping[d] = new_axes(factors_[d], static_cast<int>(d));
  }
  if (effect ? !store_effect(mapping) : !store_outputs(main, mapping)) return std::nullopt;
  if (!finish()) return std::nullopt;
  return program_;
}

std::optional<Program> Builder::run() {
  if (body_.outputs.size() != call_.outputs.size() ||
      (wanted_.outputs.empty() && wanted_.effect < 0)) {
    fail("no results");
    return std::nullopt;
  }
  const auto empty = [](const TensorDesc& t) { return t.numel() == 0; };
  if (std::any_of(call_.outputs.begin(), call_.outputs.end(), empty) ||
      std::any_of(call_.inputs.begin(), call_.inputs.end(), empty)) {
    fail("no elements");
    return std::nullopt;
  }
  for (int i = 0; i < kMostSplits; ++i) {
    split_.reset();
    auto program = attempt();
    if (!split_) return program;
    const auto axis = static_cast<std::size_t>(split_->axis);
    const int home = axis_home_[axis];
    auto& factors = home >= 0 ? factors_[static_cast<std::size_t>(home)]
                              : row_factors_[static_cast<std::size_t>(-1 - home)];
    const auto at = factors.begin() + axis_rank_[axis];
    const std::int64_t outer = *at / split_->inner;
    *at = split_->inner;
    factors.insert(at, outer);
    reason_.clear();
  }
  fail("too many reshapes");
  return std::nullopt;
}

Body body_of(const Call& call) {
  Body body;
  Step step;
  step.op = call.op;
  step.args = call.args;
  step.kwargs = call.kwargs;
  if (!call.outputs.empty()) step.output = call.outputs.front();
  body.steps.push_back(std::move(step));
  body.outputs = {static_cast<std::int32_t>(call.inputs.size())};
  return body;
}

Built build(const Call& call, std::optional<External> external) {
  const Body own = call.body ? Body{} : body_of(call);
  const Body& body = call.body ? *call.body : own;
  Wanted all;
  for (std::size_t o = 0; o < call.outputs.size(); ++o) all.outputs.push_back(o);
  Built built;
  if (std::any_of(body.steps.begin(), body.steps.end(), writes_state)) {
    built.reason = "it writes state";
    return built;
  }
  Builder builder(call, body, std::move(all), external);
  built.program = builder.run();
  built.reason = builder.reason();
  return built;
}

Segments build_segments(const Call& call) {
  const Body own = call.body ? Body{} : body_of(call);
  const Body& body = call.body ? *call.body : own;
  std::vector<Wanted> wanted;
  for (std::size_t s = 0; s < body.steps.size(); ++s) {
    if (writes_state(body.steps[s])) wanted.push_back({{}, static_cast<std::int32_t>(s)});
  }
  const auto first = static_cast<std::int32_t>(call.inputs.size());
  for (std::size_t o = 0; o < call.outputs.size(); ++o) {
    const std::int32_t v = body.outputs[o];
    if (v >= first && writes_state(body.steps[static_cast<std::size_t>(v - first)])) continue;
    const auto same = std::find_if(wanted.begin(), wanted.end(), [&](const Wanted& w) {
      return w.effect < 0 && call.outputs[w.outputs[0]].sizes == call.outputs[o].sizes;
    });
    if (same != wanted.end()) {
      same->outputs.push_back(o);
    } else {
      wanted.push_back({{o}, -1});
    }
  }
  Segments out;
  for (Wanted& w : wanted) {
    Builder builder(call, body, std::move(w), std::nullopt);
    auto program = builder.run();
    if (!program) return {{}, builder.reason()};
    out.programs.push_back(std::move(*program));
  }
  if (out.programs.empty()) out.reason = "no results";
  return out;
}

}  // namespace monograph::kernels::fusion
