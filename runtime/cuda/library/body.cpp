#include "runtime/cuda/library/body.h"

#include <algorithm>

namespace monograph::cuda::detail {

using kernels::Argument;
using kernels::Body;
using kernels::Step;
using kernels::TensorDesc;

bool Chain::find_core(bool (*is_core)(std::string_view op), std::string* why) {
  std::size_t found = 0;
  for (std::size_t s = 0; s < body_.steps.size(); ++s) {
    if (!is_core(body_.steps[s].op)) continue;
    core_ = s;
    ++found;
  }
  if (found == 1) return true;
  return refuse(why, found == 0 ? "nothing that a library does" : "several products");
}

const TensorDesc& Chain::desc(std::int32_t value) const {
  const auto i = static_cast<std::size_t>(value);
  return i < call_.inputs.size() ? call_.inputs[i] : body_.steps[i - call_.inputs.size()].output;
}

/// An input, or a view of one.
bool Chain::is_source(std::int32_t value) const {
  const auto i = static_cast<std::size_t>(value);
  if (i < call_.inputs.size()) return true;
  const std::int32_t root = body_.steps[i - call_.inputs.size()].alias;
  return root >= 0 && static_cast<std::size_t>(root) < call_.inputs.size();
}

std::int32_t Chain::root_of(std::int32_t value) const {
  const auto i = static_cast<std::size_t>(value);
  if (i < call_.inputs.size()) return value;
  const std::int32_t alias = body_.steps[i - call_.inputs.size()].alias;
  return alias >= 0 ? alias : value;
}

/// A view that shows all of the chain's value, in order.
bool Chain::passes_over(const Step& view) const {
  const TensorDesc& root = desc(view.alias);
  return view.alias == root_ && view.offset == 0 && view.output.is_contiguous() &&
         root.is_contiguous() && view.output.numel() == root.numel();
}

bool Chain::uses_value(const Step& step) const {
  return std::ranges::any_of(step.args, [this](const Argument& a) { return is_value(a); });
}

std::optional<Source> Chain::source(const Argument* a) const {
  if (a == nullptr || !a->is_tensor() || !is_source(a->tensors.front())) return std::nullopt;
  const std::int32_t value = a->tensors.front();
  Source s{value, desc(value), 0};
  const auto i = static_cast<std::size_t>(value);
  if (i < call_.inputs.size()) return s;
  const Step& view = body_.steps[i - call_.inputs.size()];
  const TensorDesc& root = call_.inputs[static_cast<std::size_t>(view.alias)];
  s.input = view.alias;
  s.offset = view.offset;
  s.desc.constant = root.constant;
  const std::int64_t bytes = s.offset * kernels::itemsize(s.desc.dtype);
  s.desc.alignment = bytes == 0 ? root.alignment : std::min(root.alignment, bytes & -bytes);
  return s;
}

std::optional<double> number(const Argument* a) {
  if (a == nullptr || !a->tensors.empty()) return std::nullopt;
  if (const auto* d = std::get_if<double>(&a->scalar)) return *d;
  if (const auto* i = std::get_if<std::int64_t>(&a->scalar)) return static_cast<double>(*i);
  if (const auto* b = std::get_if<bool>(&a->scalar)) return *b ? 1.0 : 0.0;
  return std::nullopt;
}

std::optional<std::vector<std::int64_t>> view_strides(const std::vector<std::int64_t>& sizes,
                                                      const std::vector<std::int64_t>& strides,
                                                      const std::vector<std::int64_t>& wanted) {
  // From the inside out: runs of dimensions that lie in memory as one are divided anew.
  std::vector<std::int64_t> out(wanted.size(), 0);
  auto view = static_cast<std::ptrdiff_t>(wanted.size()) - 1;
  std::int64_t run = 1;       // elements of the run so far
  std::int64_t run_view = 1;  // of them, those that the view has taken
  std::int64_t base = sizes.empty() ? 1 : strides.back();
  for (auto d = static_cast<std::ptrdiff_t>(sizes.size()) - 1; d >= 0; --d) {
    const auto i = static_cast<std::size_t>(d);
    run *= sizes[i];
    const bool ends = d == 0 || (sizes[i - 1] != 1 && strides[i - 1] != run * base);
    if (!ends) continue;
    while (view >= 0 && (run_view < run || wanted[static_cast<std::size_t>(view)] == 1)) {
      out[static_cast<std::size_t>(view)] = run_view * base;
      run_view *= wanted[static_cast<std::size_t>(view)];
      --view;
    }
    if (run_view != run) return std::nullopt;
    if (d > 0) {
      base = strides[i - 1];
      run = run_view = 1;
    }
  }
  if (view >= 0 && !sizes.empty()) return std::nullopt;
  return out;
}

}  // namespace monograph::cuda::detail
