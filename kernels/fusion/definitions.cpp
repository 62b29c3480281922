#include "kernels/fusion/definitions.h"

#include <algorithm>
#include <numeric>

#include "kernels/fusion/pointwise.h"
#include "kernels/fusion/rotary_samples.h"
#include "kernels/fusion/rows.h"

namespace monograph::kernels::fusion {
namespace {

/// Samples of fusions are what tests/kernels draws at random; these are the shapes of real models.
Call residual_norm(DType dtype) {
  // A sum that is normalised and kept: two results.
  Call c;
  c.op = "fusion";
  const TensorDesc x = dense(dtype, {2, 5, 64});
  c.inputs = {x, x, dense(dtype, {64})};
  for (std::int32_t i = 0; i < 3; ++i) c.args.push_back(tensor_argument(i));
  Body body;
  body.steps.push_back({"aten.add.Tensor", {tensor_argument(0), tensor_argument(1)}, {}, x});
  body.steps.push_back({"aten.rms_norm.default",
                        {tensor_argument(3), number_argument(std::vector<std::int64_t>{64}),
                         tensor_argument(2), number_argument(1e-5)},
                        {},
                        x});
  body.outputs = {3, 4};
  c.outputs = {x, x};
  c.body = std::make_shared<Body>(std::move(body));
  return c;
}

Call gated(DType dtype) {
  // silu(x[..., :96]) * x[..., 96:]
  Call c;
  c.op = "fusion";
  TensorDesc half = dense(dtype, {3, 96});
  half.strides = {192, 1};
  const TensorDesc out = dense(dtype, {3, 96});
  c.inputs = {dense(dtype, {3, 192})};
  c.args = {tensor_argument(0)};
  Body body;
  body.steps.push_back({"aten.slice.Tensor", {tensor_argument(0)}, {}, half, 0, 0});
  body.steps.push_back({"aten.slice.Tensor", {tensor_argument(0)}, {}, half, 0, 96});
  body.steps.push_back({"aten.silu.default", {tensor_argument(1)}, {}, out});
  body.steps.push_back({"aten.mul.Tensor", {tensor_argument(3), tensor_argument(2)}, {}, out});
  body.outputs = {4};
  c.outputs = {out};
  c.body = std::make_shared<Body>(std::move(body));
  return c;
}

std::vector<Call> pointwise_samples() {
  std::vector<Call> calls;
  for (const DType d : {DType::kF32, DType::kF16, DType::kBF16}) {
    calls.push_back(gated(d));
    calls.push_back(rotary_call(d, {}, false));
  }
  return calls;
}

/// Rows of a table, normalised.
Call looked_up(DType dtype) {
  Call c;
  c.op = "fusion";
  c.inputs = {dense(dtype, {10, 64}), dense(DType::kI64, {2, 5}), dense(dtype, {64})};
  for (std::int32_t i = 0; i < 3; ++i) c.args.push_back(tensor_argument(i));
  const TensorDesc x = dense(dtype, {2, 5, 64});
  Body body;
  body.steps.push_back({"aten.embedding.default", {tensor_argument(0), tensor_argument(1)}, {}, x});
  body.steps.push_back({"aten.rms_norm.default",
                        {tensor_argument(3), number_argument(std::vector<std::int64_t>{64}),
                         tensor_argument(2), number_argument(1e-5)},
                        {},
                        x});
  body.outputs = {4};
  c.outputs = {x};
  c.body = std::make_shared<Body>(std::move(body));
  return c;
}

std::vector<Call> row_fusion_samples() {
  std::vector<Call> calls;
  for (const DType d : {DType::kF32, DType::kF16, DType::kBF16}) {
    calls.push_back(residual_norm(d));
    calls.push_back(looked_up(d));
    calls.push_back(rotary_call(d, {}, true));
  }
  return calls;
}

const Registration kPointwise({
    .name = "fused_pointwise",
    .summary = "Pointwise fusion: any expressions over broadcast, strided and viewed inputs.",
    .algorithm = "one thread per 16 bytes of the narrowest operand; source generated",
    .ops = {"fusion"},
    .match = [](const Call& c,
                const Target& t) { return pointwise_instance(c, t, "mg_fused_pointwise"); },
    .samples = pointwise_samples,
});

const Registration kRows({
    .name = "fused_rows",
    .summary = "Reductions along rows with the pointwise work before, between and after them.",
    .algorithm = "rows in registers where they fit; shuffles, then one value a warp; source "
                 "generated",
    .ops = {"fusion"},
    .match = [](const Call& c, const Target& t) { return rows_instance(c, t, "mg_fused_rows"); },
    .samples = row_fusion_samples,
});

}  // namespace

Definition row_definition(RowOp op) {
  Definition d;
  d.name = op.name;
  d.summary = op.summary;
  d.algorithm = op.algorithm;
  d.ops = op.ops;
  d.match = [entry = "mg_" + op.name](const Call& c, const Target& t) {
    if (c.outputs.size() != 1) return Match::no("operands");
    return rows_instance(c, t, entry);
  };
  d.expand = op.expand;
  d.samples = op.samples;
  return d;
}

std::vector<std::size_t> dimensions(const Argument* argument, std::size_t rank) {
  std::vector<std::size_t> dims;
  if (rank == 0) return dims;  // a scalar may be named by 0 or -1, but has none
  const auto add = [&](std::int64_t d) {
    dims.push_back(static_cast<std::size_t>(d < 0 ? d + static_cast<std::int64_t>(rank) : d));
  };
  if (argument != nullptr) {
    if (const auto* one = std::get_if<std::int64_t>(&argument->scalar)) add(*one);
    if (const auto* many = std::get_if<std::vector<std::int64_t>>(&argument->scalar)) {
      for (const std::int64_t d : *many) add(d);
    }
  }
  if (dims.empty()) {
    dims.resize(rank);
    std::iota(dims.begin(), dims.end(), std::size_t{0});
  }
  std::sort(dims.begin(), dims.end());
  return dims;
}

double real(const Argument* argument, double otherwise) {
  if (argument == nullptr) return otherwise;
  if (const auto* d = std::get_if<double>(&argument->scalar)) return *d;
  if (const auto* i = std::get_if<std::int64_t>(&argument->scalar)) return static_cast<double>(*i);
  return otherwise;
}

int reduce_dimensions(Builder& builder, const Step& step, const Mapping& mapping, ReduceKind kind,
                      const std::vector<std::size_t>& dims, DType type) {
  if (step.args.empty() || !step.args[0].is_tensor()) return builder.fail(step.op);
  const std::int32_t from = step.args[0].tensors.front();
  const std::vector<std::int64_t>& sizes = builder.desc(from).sizes;
  const bool keeps = mapping.size() == sizes.size();
  Mapping full(sizes.size());
  std::vector<std::int64_t> lengths;
  std::size_t next = 0;
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    const bool reduced = std::find(dims.begin(), dims.end(), d) != dims.end();
    if (reduced) lengths.push_back(sizes[d]);
    if (!reduced) full[d] = mapping[keeps ? d : next];
    if (!reduced || keeps) ++next;
  }
  const std::vector<int> axes = builder.reduction_axes(lengths, mapping);
  std::size_t at = 0;
  for (const std::size_t d : dims) {
    // Axes in order belong to the reduced dimensions in order.
    std::int64_t have = 1;
    while (have < sizes[d] && at < axes.size()) {
      have *= builder.size_of({axes[at]});
      full[d].push_back(axes[at++]);
    }
    if (have != sizes[d]) return builder.fail("a reduction across dimensions of other sizes");
  }
  const int node = builder.operand(step.args[0], full, type);
  const int converted = builder.compute(type, type, "x0", {node});
  return builder.reduce(kind, converted, axes);
}

std::vector<Call> row_samples(const std::string& op, const std::vector<DType>& dtypes,
                              const std::vector<Argument>& more) {
  std::vector<Call> calls;
  const auto add = [&](TensorDesc in) {
    Call c;
    c.op = op;
    c.args = {tensor_argument(0)};
    c.args.insert(c.args.end(), more.begin(), more.end());
    c.outputs = {dense(in.dtype, in.sizes)};
    c.inputs = {std::move(in)};
    calls.push_back(std::move(c));
  };
  for (const DType dtype : dtypes) {
    add(dense(dtype, {4, 64}));
    add(dense(dtype, {3, 5, 111}, itemsize(dtype)));
    add(dense(dtype, {2, 4096}));
    TensorDesc transposed = dense(dtype, {33, 40});
    std::swap(transposed.strides[0], transposed.strides[1]);
    std::swap(transposed.sizes[0], transposed.sizes[1]);
    add(transposed);
    add(dense(dtype, {7, 1}));
  }
  add(dense(dtypes.front(), {1, 40000}));
  return calls;
}

Argument dim_list(std::int64_t dim) {
  return number_argument(std::vector<std::int64_t>{dim});
}

Argument dim_number(std::int64_t dim) {
  return number_argument(dim);
}

std::vector<Call> reduction_samples(const std::string& op, const std::vector<DType>& dtypes,
                                    Argument (*dim)(std::int64_t), std::optional<DType> result) {
  std::vector<Call> calls;
  for (const bool keep : {true, false}) {
    for (Call c : row_samples(op, dtypes, {dim(-1), number_argument(keep)})) {
      TensorDesc& out = c.outputs[0];
      std::vector<std::int64_t> sizes = out.sizes;
      if (keep) sizes.back() = 1;
      if (!keep) sizes.pop_back();
      out = dense(result.value_or(out.dtype), sizes);
      calls.push_back(std::move(c));
    }
  }
  // The first dimension of two: neighbours in memory belong to different rows.
  for (const DType dtype : dtypes) {
    Call c;
    c.op = op;
    c.inputs = {dense(dtype, {37, 96})};
    c.args = {tensor_argument(0), dim(0)};
    c.outputs = {dense(result.value_or(dtype), {96})};
    calls.push_back(std::move(c));
  }
  return calls;
}

}  // namespace monograph::kernels::fusion
