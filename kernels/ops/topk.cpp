// The largest or smallest elements of each row, in order, with their positions.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

constexpr std::int64_t kMost = 512;
constexpr std::int64_t kSlice = 1024;  // elements that a block sorts
constexpr std::int64_t kThreads = 256;

struct TopK {
  std::int64_t rows = 1, n = 1, k = 1;
  std::int64_t kept = 1, slice = 1;  // keys of a block, powers of two
  bool largest = true;
};

std::int64_t power_of_two_from(std::int64_t n) {
  std::int64_t p = 1;
  while (p < n) p *= 2;
  return p;
}

bool flag(const Call& call, std::size_t index, const char* name, bool otherwise) {
  const Argument* a = call.arg(index, name);
  const bool* b = a != nullptr ? std::get_if<bool>(&a->scalar) : nullptr;
  return b != nullptr ? *b : otherwise;
}

/// A reason if it can't be done here.
std::string read(const Call& call, TopK& t) {
  const TensorDesc* x = call.input(0);
  const Argument* k = call.arg(1, "k");
  const auto* count = k != nullptr ? std::get_if<std::int64_t>(&k->scalar) : nullptr;
  if (x == nullptr || count == nullptr || call.outputs.size() != 2) return "operands";
  if (x->dtype != DType::kF32 && !is_half(x->dtype)) {
    return fmt::format("dtype {}", dtype_name(x->dtype));
  }
  const auto rank = static_cast<std::int64_t>(x->sizes.size());
  const Argument* dim = call.arg(2, "dim");
  const auto* d = dim != nullptr ? std::get_if<std::int64_t>(&dim->scalar) : nullptr;
  if (rank == 0 || (d != nullptr && *d != -1 && *d != rank - 1)) return "not along rows";
  if (!x->is_contiguous() || !call.outputs[0].is_contiguous() || !call.outputs[1].is_contiguous()) {
    return "rows apart";
  }
  if (x->numel() == 0 || *count < 1) return "no elements";
  if (*count > kMost) return fmt::format("{} of each row", *count);
  t.n = x->sizes.back();
  t.k = *count;
  t.rows = x->numel() / t.n;
  if (t.rows > 65535 || t.n > std::numeric_limits<std::int32_t>::max() / 2) return "size";
  t.largest = flag(call, 3, "largest", true);
  t.kept = power_of_two_from(t.k);
  t.slice = std::max(2 * t.kept, std::min(kSlice, power_of_two_from(t.n)));
  return {};
}

std::string source_text(const TopK& t, DType dtype) {
  std::string s = "#include \"mg/device.cuh\"\n#include \"mg/top_k.cuh\"\n\n";
  s += fmt::format("using Shape = mg::TopKShape<{}, {}, {}, {}, {}, {}>;\n", device_type(dtype),
                   t.n, t.k, t.kept, t.slice, t.largest);
  s += fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({0}) mg_topk(const {1}* x, {1}* values, "
      "long long* indices, unsigned long long* parts, unsigned* tickets, int parts_a_row, "
      "int tickets_a_row) {{\n",
      kThreads, device_type(dtype));
  s += "  mg::pdl_launch();\n  mg::pdl_wait();\n";
  s += "  const long long row = blockIdx.y;\n";
  s += "  mg::top_k<Shape>(x + row * Shape::N, values + row * Shape::K, indices + row * Shape::K,\n"
       "                   parts + row * parts_a_row, tickets + row * tickets_a_row);\n}\n";
  return s + "KERNEL_EXPORT(mg_topk)\n";
}

Match match(const Call& call, const Target&) {
  TopK t;
  std::string why = read(call, t);
  if (!why.empty()) return Match::no(std::move(why));
  const std::int64_t blocks = (t.n + t.slice - 1) / t.slice;
  const std::int64_t arity = t.slice / t.kept;
  std::int64_t parts = 0;
  std::int64_t tickets = 0;
  for (std::int64_t left = blocks; left > 1;) {
    const std::int64_t groups = (left + arity - 1) / arity;
    parts += left * t.kept;
    tickets += groups;
    left = groups;
  }
  Instance i;
  i.source = "mg_topk.cu";
  i.text = source_text(t, call.inputs[0].dtype);
  i.entry = "mg_topk";
  i.geometry.grid = {static_cast<std::uint32_t>(blocks), static_cast<std::uint32_t>(t.rows), 1};
  i.geometry.block = {kThreads, 1, 1};
  i.geometry.programmatic = true;
  // Never nothing, so that the parameters have addresses.
  i.workspace_bytes = std::max<std::int64_t>(1, t.rows * parts) * 8;
  i.state_bytes = std::max<std::int64_t>(1, t.rows * tickets) * 4;
  i.params = {Param::input(0),
              Param::output(0),
              Param::output(1),
              Param::workspace(),
              Param::state(),
              Param::scalar(static_cast<std::int32_t>(parts)),
              Param::scalar(static_cast<std::int32_t>(tickets))};
  i.roofline.bytes = static_cast<double>(call.inputs[0].nbytes()) +
                     static_cast<double>(call.outputs[0].nbytes() + call.outputs[1].nbytes());
  i.register_budget = 64;
  return {std::move(i), {}};
}

Call sample(DType dtype, std::vector<std::int64_t> sizes, std::int64_t k, bool largest) {
  Call c;
  c.op = "aten.topk.default";
  c.inputs = {dense(dtype, sizes, itemsize(dtype))};
  c.args = {tensor_argument(0), number_argument(k)};
  c.kwargs = {{"largest", number_argument(largest)}};
  sizes.back() = k;
  c.outputs = {dense(dtype, sizes), dense(DType::kI64, sizes)};
  return c;
}

std::vector<Call> samples() {
  return {
      sample(DType::kF32, {2, 3, 111}, 5, true), sample(DType::kF32, {1, 20000}, 40, true),
      sample(DType::kF16, {989}, 1, true),       sample(DType::kBF16, {3, 2500}, 300, true),
      sample(DType::kBF16, {2, 64}, 64, false),  sample(DType::kF32, {4, 1}, 1, false),
  };
}

const Registration kRegistration({
    .name = "topk",
    .summary = "The k largest or smallest elements of each row in order, equal ones by position.",
    .algorithm = "slices sorted in shared memory (Batcher, Sorting networks, 1968), merged by the "
                 "last block of each group of neighbours",
    .ops = {"aten.topk.default"},
    .priority = 10,
    .match = match,
    .samples = samples,
});

}  // namespace
}  // namespace monograph::kernels
