// Position of the first largest element of long rows, few of them: a vocabulary's scores.
#include <fmt/format.h>

#include <algorithm>

#include "kernels/fusion/definitions.h"

namespace monograph::kernels {
namespace {

constexpr std::int64_t kThreads = 256;
constexpr std::int64_t kLeast = 16384;  // elements of a row; a block does shorter ones as well

Match match(const Call& call, const Target& target) {
  if (call.op != "aten.argmax.default" || call.inputs.empty()) return Match::no("no argmax");
  const TensorDesc& x = call.inputs[0];
  const Argument* dim = call.arg(1, "dim");
  const auto* axis = dim == nullptr ? nullptr : std::get_if<std::int64_t>(&dim->scalar);
  const auto rank = static_cast<std::int64_t>(x.sizes.size());
  if (axis == nullptr || rank == 0 || (*axis != -1 && *axis != rank - 1)) {
    return Match::no("not the last dimension");
  }
  if (!is_half(x.dtype) && x.dtype != DType::kF32) return Match::no("dtype");
  const std::int64_t n = x.sizes.back();
  const std::int64_t width = 16 / itemsize(x.dtype);
  if (n < kLeast) return Match::no("rows are short");
  if (!x.is_contiguous() || x.alignment < 16 || n % width != 0) return Match::no("layout");
  const std::int64_t rows = x.numel() / n;
  if (rows >= target.multiprocessors) return Match::no("many rows");
  const std::int64_t splits = std::clamp<std::int64_t>(
      target.multiprocessors / rows, 2, std::max<std::int64_t>(2, n / width / kThreads));
  Instance i;
  i.source = "mg_wide_argmax.cu";
  i.entry = "mg_wide_argmax";
  const std::string_view type = device_type(x.dtype);
  i.text = fmt::format(
      "#include \"mg/device.cuh\"\n#include \"mg/wide_argmax.cuh\"\n\n"
      "extern \"C\" __global__ void __launch_bounds__({0}) mg_wide_argmax(const {1}* x, "
      "long long* out, mg::Place<float>* found, unsigned* tickets) {{\n"
      "  mg::wide_argmax<{1}, {2}, {3}, {0}>(x, out, found, tickets);\n}}\n"
      "KERNEL_EXPORT(mg_wide_argmax)\n",
      kThreads, type, n, splits);
  i.geometry.grid = {static_cast<std::uint32_t>(splits), static_cast<std::uint32_t>(rows), 1};
  i.geometry.block = {static_cast<std::uint32_t>(kThreads), 1, 1};
  i.geometry.programmatic = true;
  i.workspace_bytes = rows * splits * 16;
  i.state_bytes = rows * 4;
  i.params = {Param::input(0), Param::output(0), Param::workspace(), Param::state()};
  i.roofline.bytes = static_cast<double>(x.nbytes() + rows * 8);
  i.roofline.flops = static_cast<double>(x.numel());
  i.register_budget = 64;
  return {std::move(i), {}};
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const std::int64_t rows : {1, 3}) {
      Call c;
      c.op = "aten.argmax.default";
      c.inputs = {dense(dtype, {rows, 16400})};
      c.args = {tensor_argument(0), number_argument(std::int64_t{-1}), number_argument(true)};
      c.outputs = {dense(DType::kI64, {rows, 1})};
      calls.push_back(std::move(c));
    }
  }
  return calls;
}

const Registration kRegistration({
    .name = "wide_argmax",
    .summary = "Position of the first largest element of long rows; NaN counts as largest.",
    .algorithm = "blocks share a row; the last to finish compares what each found",
    .ops = {"aten.argmax.default"},
    .priority = 40,
    .match = match,
    .samples = samples,
});

}  // namespace
}  // namespace monograph::kernels
