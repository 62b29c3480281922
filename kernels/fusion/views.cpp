// Views of computed values: reshapes, broadcasts and permutations as other mappings.
#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>

#include "kernels/fusion/program.h"

namespace monograph::kernels::fusion {
namespace {

constexpr std::array<std::string_view, 9> kReshapes{
    "aten.view.default",       "aten.reshape.default", "aten._unsafe_view.default",
    "aten.unsqueeze.default",  "aten.squeeze.default", "aten.squeeze.dim",
    "aten.flatten.using_ints", "aten.squeeze.dims",    "aten.unflatten.int"};
constexpr std::array<std::string_view, 5> kIdentities{
    "aten.alias.default", "aten.detach.default", "aten.contiguous.default", "aten.dropout.default",
    "aten.lift_fresh_copy.default"};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Dimension numbers of a permuting operator: result dimension d is dimension out[d] of its
/// operand. Empty if `step` permutes nothing.
std::vector<std::size_t> permutation(const Step& step, std::size_t rank) {
  std::vector<std::size_t> dims(rank);
  std::iota(dims.begin(), dims.end(), std::size_t{0});
  const auto at = [&](std::int64_t d) {
    return static_cast<std::size_t>(d < 0 ? d + static_cast<std::int64_t>(rank) : d);
  };
  if ((step.op == "aten.t.default" || step.op == "aten.mT.default" ||
       step.op == "aten.numpy_T.default") &&
      rank == 2) {
    std::swap(dims[0], dims[1]);
    return dims;
  }
  if (step.op == "aten.transpose.int" && step.args.size() == 3) {
    const auto* a = std::get_if<std::int64_t>(&step.args[1].scalar);
    const auto* b = std::get_if<std::int64_t>(&step.args[2].scalar);
    if (a == nullptr || b == nullptr) return {};
    std::swap(dims[at(*a)], dims[at(*b)]);
    return dims;
  }
  if (step.op == "aten.permute.default" && step.args.size() == 2) {
    const auto* order = std::get_if<std::vector<std::int64_t>>(&step.args[1].scalar);
    if (order == nullptr || order->size() != rank) return {};
    for (std::size_t d = 0; d < rank; ++d) dims[d] = at((*order)[d]);
    return dims;
  }
  return {};
}

}  // namespace

std::int64_t Builder::axis_size(int axis) const {
  return axis < 0 ? fixed_[static_cast<std::size_t>(-1 - axis)].size
                  : program_.axes[static_cast<std::size_t>(axis)];
}

int Builder::fixed(Fixed f) {
  const auto known = std::find(fixed_.begin(), fixed_.end(), f);
  const auto index = static_cast<int>(known - fixed_.begin());
  if (known == fixed_.end()) fixed_.push_back(f);
  return -1 - index;
}

bool Builder::is_part(const std::vector<int>& axes) noexcept {
  return std::any_of(axes.begin(), axes.end(), [](int a) { return a < 0; });
}

int Builder::view_node(const Step& step, const Mapping& mapping) {
  if (step.args.empty() || !step.args[0].is_tensor()) return fail(step.op + " in a fusion");
  const std::int32_t from = step.args[0].tensors.front();
  const std::vector<std::int64_t>& sizes = desc(from).sizes;
  if (contains(kReshapes, step.op)) {
    const auto m = reshaped(mapping, sizes);
    return m ? value(from, *m) : -1;
  }
  if (contains(kIdentities, step.op) || sizes == step.output.sizes) {
    // A slice of everything, or a copy of a kind that changes nothing.
    const bool sliced = step.op == "aten.slice.Tensor" && step.offset == 0;
    if (contains(kIdentities, step.op) || sliced || step.op == "aten.expand.default") {
      return value(from, mapping);
    }
  }
  if (step.op == "aten.slice.Tensor") {
    const auto m = sliced(step, sizes, mapping);
    return m ? value(from, *m) : fail("a slice that is no equal piece");
  }
  if (step.op == "aten.expand.default" || step.op == "aten.broadcast_to.default" ||
      step.op == "aten.expand_as.default") {
    const auto m = broadcast(mapping, sizes);
    return m ? value(from, *m) : fail(step.op);
  }
  const std::vector<std::size_t> dims = permutation(step, sizes.size());
  if (dims.empty()) return fail(step.op + " in a fusion");
  Mapping m(sizes.size());
  for (std::size_t d = 0; d < dims.size(); ++d) m[dims[d]] = mapping[d];
  return value(from, m);
}

std::optional<Mapping> Builder::broadcast(const Mapping& mapping,
                                          const std::vector<std::int64_t>& sizes) {
  if (sizes.size() > mapping.size()) return std::nullopt;
  const std::size_t lead = mapping.size() - sizes.size();
  Mapping m(sizes.size());
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] != 1) m[d] = mapping[lead + d];
  }
  return m;
}

std::optional<Mapping> Builder::reshaped(const Mapping& mapping,
                                         const std::vector<std::int64_t>& sizes) {
  std::vector<int> flat;
  for (const auto& list : mapping) flat.insert(flat.end(), list.begin(), list.end());
  Mapping m(sizes.size());
  std::size_t next = 0;
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    std::int64_t have = 1;
    while (have < sizes[d]) {
      if (next == flat.size()) {
        fail("a reshape of something broadcast");
        return std::nullopt;
      }
      const int axis = flat[next++];
      const std::int64_t size = axis_size(axis);
      const std::int64_t wants = sizes[d] / have;
      if (sizes[d] % have != 0 || (size > wants && size % wants != 0)) {
        fail("a reshape that cuts across dimensions");
        return std::nullopt;
      }
      if (size > wants && axis < 0) {
        fail("a reshape of a slice");
        return std::nullopt;
      }
      if (size > wants) {
        split_ = Split{axis, size / wants};
        return std::nullopt;
      }
      have *= size;
      m[d].push_back(axis);
    }
  }
  return m;
}

/// One of the equal pieces of a dimension: a fixed place along an axis that counts them.
std::optional<Mapping> Builder::sliced(const Step& step, const std::vector<std::int64_t>& sizes,
                                       const Mapping& mapping) {
  if (step.args.size() < 3) return std::nullopt;
  const auto* stride =
      step.args.size() > 4 ? std::get_if<std::int64_t>(&step.args[4].scalar) : nullptr;
  if (stride != nullptr && *stride != 1) return std::nullopt;
  const auto* dim = std::get_if<std::int64_t>(&step.args[1].scalar);
  const auto* start = std::get_if<std::int64_t>(&step.args[2].scalar);  // none: 0
  const std::vector<std::int64_t>& to = step.output.sizes;
  if (dim == nullptr || to.size() != sizes.size()) return std::nullopt;
  const auto d =
      static_cast<std::size_t>(*dim < 0 ? *dim + static_cast<std::int64_t>(sizes.size()) : *dim);
  const std::int64_t given = start != nullptr ? *start : 0;
  const std::int64_t first = given < 0 ? given + sizes[d] : given;
  if (sizes[d] % to[d] != 0 || first % to[d] != 0 || first + to[d] > sizes[d]) return std::nullopt;
  Mapping m = mapping;
  if (sizes[d] != to[d]) m[d].insert(m[d].begin(), fixed({sizes[d] / to[d], first / to[d]}));
  return m;
}

std::optional<std::pair<std::vector<int>, std::vector<int>>> Builder::pieces(
    const std::vector<int>& list, std::int64_t parts) {
  const auto m = reshaped({list}, {parts, size_of(list) / parts});
  if (!m) return std::nullopt;
  return std::pair((*m)[0], (*m)[1]);
}

}  // namespace monograph::kernels::fusion
