#include "capture/passes/rewrite.h"

#include <utility>
#include <variant>

namespace monograph::passes {

std::optional<Target> split_target(std::string_view target) noexcept {
  const std::size_t first = target.find('.');
  if (first == std::string_view::npos) return std::nullopt;
  const std::size_t second = target.find('.', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  return Target{target.substr(0, first), target.substr(first + 1, second - first - 1),
                target.substr(second + 1)};
}

bool is_aten(const ir::Node& node, std::string_view op) noexcept {
  if (node.kind() != ir::NodeKind::kCallFunction) return false;
  const auto parts = split_target(node.target());
  return parts && parts->space == "aten" && parts->op == op;
}

ir::Node* node_arg(const ir::Node& node, std::size_t index) noexcept {
  if (index >= node.args().size()) return nullptr;
  ir::Node* const* found = node.args()[index].get_if<ir::Node*>();
  return found != nullptr ? *found : nullptr;
}

const ir::Arg* find_arg(const ir::Node& node, std::size_t index, std::string_view name) noexcept {
  return index < node.args().size() ? &node.args()[index] : node.kwarg(name);
}

bool is_one_or_absent(const ir::Arg* arg) noexcept {
  if (arg == nullptr) return true;
  if (const auto* i = arg->get_if<std::int64_t>()) return *i == 1;
  if (const auto* d = arg->get_if<double>()) return *d == 1.0;
  return false;
}

bool is_complex(ir::DType dtype) noexcept {
  return dtype == ir::DType::kC64 || dtype == ir::DType::kC128;
}

std::vector<ir::Node*> inputs_of(const ir::Node& node) {
  std::vector<ir::Node*> found;
  const auto collect = [&found](ir::Node* n) { found.push_back(n); };
  for (const ir::Arg& a : node.args()) ir::for_each_node(a, collect);
  for (const auto& [key, a] : node.kwargs()) ir::for_each_node(a, collect);
  return found;
}

void copy_origin(const ir::Node& from, ir::Node& to) {
  to.module_path = from.module_path;
  to.source = from.source;
}

std::string names(const std::vector<const ir::Node*>& nodes) {
  std::string joined;
  for (const ir::Node* n : nodes) {
    if (!joined.empty()) joined += " + ";
    joined += "%" + n->name();
  }
  return joined;
}

ir::Node* CallBuilder::call(std::string target, std::vector<ir::Arg> args, ir::Kwargs kwargs,
                            ir::TensorType type) {
  return add(std::move(target), std::move(args), std::move(kwargs),
             ir::Results::tensor(std::move(type)));
}

ir::Node* CallBuilder::view(std::string target, ir::Node* x, std::vector<ir::Arg> more,
                            ir::TensorType type) {
  more.insert(more.begin(), ir::Arg(x));
  return add(std::move(target), std::move(more), {},
             ir::Results::tensor(std::move(type), x->storage()));
}

ir::Node* CallBuilder::add(std::string target, std::vector<ir::Arg> args, ir::Kwargs kwargs,
                           ir::Results results) {
  ir::Node* made =
      graph_.call(std::move(target), std::move(args), std::move(kwargs), std::move(results));
  index_.add(*made, position_);
  return made;
}

void replace_and_erase(ir::Graph& graph, ir::StorageIndex& index, ir::Node* from, ir::Node* to) {
  graph.replace_all_uses(from, to);
  index.forget(*from);
  graph.erase(from);
}

}  // namespace monograph::passes
