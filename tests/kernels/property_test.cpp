// Random fusions against their own steps: expressions over broadcast, strided, sliced and reshaped
// values of several dtypes, with and without reductions.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>

#include "kernels/elementwise/definitions.h"
#include "kernels/registry.h"
#include "tests/kernels/device.h"
#include "tests/kernels/reference.h"

namespace kernels_test {
namespace {

using namespace monograph::kernels;
using Sizes = std::vector<std::int64_t>;

/// Draws a fusion whose values all broadcast to one shape.
class RandomFusion {
 public:
  explicit RandomFusion(std::mt19937_64& random) : random_(random) {}

  Call draw(bool reduces) {
    call_.op = "fusion";
    const std::array<std::int64_t, 7> lengths{1, 2, 3, 5, 8, 32, 37};
    const std::size_t rank = 1 + pick(3);
    for (std::size_t d = 0; d < rank; ++d) shape_.push_back(lengths[pick(lengths.size())]);
    if (reduces && shape_.back() < 8) shape_.back() = 37;
    const std::size_t inputs = 1 + pick(3);
    for (std::size_t i = 0; i < inputs; ++i) add_input();
    const std::size_t steps = 2 + pick(6);
    for (std::size_t s = 0; s < steps; ++s) add_step();
    if (reduces) add_reduction();
    const std::int32_t last = whole();
    body_.outputs = {last};
    call_.outputs = {dense(desc(last).dtype, shape_)};
    if (pick(3) == 0 && last > first_step() && desc(last - 1).sizes == shape_ &&
        step(last - 1).alias < 0) {
      body_.outputs.push_back(last - 1);
      call_.outputs.push_back(dense(desc(last - 1).dtype, shape_));
    }
    call_.body = std::make_shared<Body>(std::move(body_));
    return std::move(call_);
  }

 private:
  std::size_t pick(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  std::int32_t first_step() const { return static_cast<std::int32_t>(call_.inputs.size()); }
  std::int32_t count() const {
    return static_cast<std::int32_t>(call_.inputs.size() + body_.steps.size());
  }
  const Step& step(std::int32_t v) const {
    return body_.steps[static_cast<std::size_t>(v - first_step())];
  }
  const TensorDesc& desc(std::int32_t v) const {
    return v < first_step() ? call_.inputs[static_cast<std::size_t>(v)] : step(v).output;
  }

  void add_input() {
    const std::array<DType, 4> dtypes{DType::kF32, DType::kF16, DType::kBF16, DType::kF32};
    const DType dtype = dtypes[pick(dtypes.size())];
    Sizes sizes = shape_;
    for (std::int64_t& s : sizes) s = pick(5) == 0 ? 1 : s;
    while (!sizes.empty() && pick(6) == 0) sizes.erase(sizes.begin());
    TensorDesc d = dense(dtype, sizes, pick(3) == 0 ? itemsize(dtype) : 16);
    if (sizes.size() >= 2 && pick(3) == 0) {  // as if transposed in memory
      TensorDesc turned = dense(dtype, {sizes.rbegin(), sizes.rend()}, d.alignment);
      d.strides.assign(turned.strides.rbegin(), turned.strides.rend());
    } else if (sizes.size() >= 2 && pick(3) == 0) {  // rows with something between them
      for (std::size_t k = 0; k + 1 < sizes.size(); ++k) d.strides[k] *= 3;
    }
    call_.args.push_back(tensor_argument(static_cast<std::int32_t>(call_.inputs.size())));
    call_.inputs.push_back(std::move(d));
  }

  /// One of the values that broadcast to the whole shape: what `reshape` merges needn't.
  std::int32_t any() {
    std::vector<std::int32_t> fitting;
    for (std::int32_t v = 0; v < count(); ++v) {
      if (broadcasts(desc(v).sizes)) fitting.push_back(v);
    }
    return fitting[pick(fitting.size())];
  }
  bool broadcasts(const Sizes& sizes) const {
    for (std::size_t k = 1; k <= sizes.size(); ++k) {
      const std::int64_t s = sizes[sizes.size() - k];
      if (s != 1 && s != shape_[shape_.size() - k]) return false;
    }
    return true;
  }

  static Sizes together(const Sizes& a, const Sizes& b) {
    Sizes out(std::max(a.size(), b.size()), 1);
    for (std::size_t d = 0; d < a.size(); ++d) out[out.size() - a.size() + d] = a[d];
    for (std::size_t d = 0; d < b.size(); ++d) {
      auto& s = out[out.size() - b.size() + d];
      s = std::max(s, b[d]);
    }
    return out;
  }

  std::int32_t push(Step s) {
    body_.steps.push_back(std::move(s));
    return count() - 1;
  }

  void add_step() {
    const std::int32_t a = any();
    const DType dtype = desc(a).dtype == DType::kBool ? DType::kF32 : desc(a).dtype;
    switch (pick(7)) {
      case 0:
      case 1: {
        const std::array<const char*, 7> ops{"neg",  "abs",  "sigmoid", "tanh",
                                             "silu", "gelu", "relu"};
        push({fmt::format("aten.{}.default", ops[pick(ops.size())]),
              {tensor_argument(a)},
              {},
              dense(dtype, desc(a).sizes)});
        break;
      }
      case 2:
      case 3: {
        const std::array<const char*, 4> ops{"add.Tensor", "sub.Tensor", "mul.Tensor",
                                             "maximum.default"};
        const std::int32_t b = any();
        const DType other = desc(b).dtype == DType::kBool ? DType::kF32 : desc(b).dtype;
        const DType out = dtype == other ? dtype : DType::kF32;
        push({fmt::format("aten.{}", ops[pick(ops.size())]),
              {tensor_argument(a), tensor_argument(b)},
              {},
              dense(out, together(desc(a).sizes, desc(b).sizes))});
        break;
      }
      case 4: {
        const std::array<DType, 3> to{DType::kF32, DType::kF16, DType::kBF16};
        push({"aten._to_copy.default",
              {tensor_argument(a)},
              {},
              dense(to[pick(to.size())], desc(a).sizes)});
        break;
      }
      case 5:
        push({"aten.mul.Tensor",
              {tensor_argument(a), number_argument(0.37)},
              {},
              dense(dtype, desc(a).sizes)});
        break;
      case 6:
        reshape(a);
        break;
    }
  }

  /// There and back again: merged into one dimension, an operation, and split.
  void reshape(std::int32_t a) {
    const Sizes sizes = desc(a).sizes;
    const DType dtype = desc(a).dtype == DType::kBool ? DType::kF32 : desc(a).dtype;
    const std::int64_t n = desc(a).numel();
    const std::int32_t copy =
        push({"aten.exp.default", {tensor_argument(a)}, {}, dense(dtype, sizes)});
    const std::int32_t flat = push({"aten.view.default",
                                    {tensor_argument(copy), number_argument(Sizes{n})},
                                    {},
                                    dense(dtype, {n}),
                                    copy,
                                    0});
    const std::int32_t mid =
        push({"aten.tanh.default", {tensor_argument(flat)}, {}, dense(dtype, {n})});
    push({"aten.view.default",
          {tensor_argument(mid), number_argument(sizes)},
          {},
          dense(dtype, sizes),
          mid,
          0});
  }

  void add_reduction() {
    const std::int32_t x = whole();
    const DType dtype = desc(x).dtype;
    if (pick(2) == 0) {
      push({"aten._softmax.default",
            {tensor_argument(x), number_argument(std::int64_t{-1}), number_argument(false)},
            {},
            dense(dtype, shape_)});
    } else {
      Sizes kept = shape_;
      kept.back() = 1;
      const std::int32_t mean =
          push({"aten.mean.dim",
                {tensor_argument(x), number_argument(Sizes{-1}), number_argument(true)},
                {},
                dense(dtype, kept)});
      push({"aten.sub.Tensor",
            {tensor_argument(x), tensor_argument(mean)},
            {},
            dense(dtype, shape_)});
    }
    const std::int32_t last = count() - 1;
    push({"aten.mul.Tensor",
          {tensor_argument(last), number_argument(1.5)},
          {},
          dense(dtype, shape_)});
  }

  /// A value of the whole shape that depends on the last step.
  std::int32_t whole() {
    const std::int32_t last = count() - 1;
    const bool done = last >= first_step() && desc(last).sizes == shape_ && step(last).alias < 0 &&
                      desc(last).dtype != DType::kBool;
    if (done) return last;
    // Broadcast against something of every size.
    const DType dtype = desc(last).dtype;
    const std::int32_t wide = push({"aten.expand.default",
                                    {tensor_argument(last), number_argument(shape_)},
                                    {},
                                    expanded(desc(last)),
                                    last < first_step() ? last : root_of(last),
                                    0});
    return push({"aten.sigmoid.default", {tensor_argument(wide)}, {}, dense(dtype, shape_)});
  }
  std::int32_t root_of(std::int32_t v) const {
    return v >= first_step() && step(v).alias >= 0 ? root_of(step(v).alias) : v;
  }
  TensorDesc expanded(const TensorDesc& d) const {
    TensorDesc out = d;
    out.sizes = shape_;
    out.strides.assign(shape_.size(), 0);
    const std::size_t lead = shape_.size() - d.sizes.size();
    for (std::size_t k = 0; k < d.sizes.size(); ++k) {
      out.strides[lead + k] = d.sizes[k] == 1 ? 0 : d.strides[k];
    }
    return out;
  }

  std::mt19937_64& random_;
  Call call_;
  Body body_;
  Sizes shape_;
};

std::string text(const Call& call) {
  std::string s;
  const auto add = [&s](const TensorDesc& d) {
    s += fmt::format("{}[{}]({})", dtype_name(d.dtype), fmt::join(d.sizes, ","),
                     fmt::join(d.strides, ","));
  };
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    s += fmt::format("v{} : ", i);
    add(call.inputs[i]);
    s += "\n";
  }
  for (std::size_t i = 0; i < call.body->steps.size(); ++i) {
    const Step& st = call.body->steps[i];
    s += fmt::format("v{} : ", call.inputs.size() + i);
    add(st.output);
    s += " = " + st.op;
    for (const Argument& a : st.args) {
      s += a.is_tensor() ? fmt::format(" v{}", a.tensors[0]) : std::string(" #");
    }
    s += st.alias >= 0 ? fmt::format(" alias v{}\n", st.alias) : "\n";
  }
  return s + fmt::format("results v{}", fmt::join(call.body->outputs, " v"));
}

void check(std::uint64_t seed, bool reduces, int& made) {
  std::mt19937_64 random(seed);
  const Call call = RandomFusion(random).draw(reduces);
  SCOPED_TRACE(fmt::format("seed {}\n{}", seed, text(call)));
  const Match match = select(call, test_target());
  if (!match.instance) return;  // counted: most must be made
  ++made;
  std::vector<Values> inputs;
  for (const TensorDesc& d : call.inputs) inputs.push_back(random_values(d, Fill::kNormal, random));
  const auto exact = reference(call, inputs, Rounding::kExact);
  const auto eager = reference(call, inputs, Rounding::kEager);
  std::vector<std::vector<std::byte>> first;
  for (const std::uint64_t order : {0, 5}) {
    const Outcome out = run(*match.instance, call, inputs, {.seed = order});
    ASSERT_EQ(out.fault, "") << match.instance->text;
    for (std::size_t o = 0; o < out.outputs.size(); ++o) {
      ASSERT_EQ(compare(out.outputs[o], exact[o], eager[o], 1), "") << "output " << o << "\n"
                                                                    << match.instance->text;
    }
    if (first.empty()) first = out.bytes;
    ASSERT_EQ(out.bytes, first);
  }
}

constexpr int kCases = 24;

TEST(RandomFusions, PointwiseOnesAgreeWithTheirSteps) {
  std::random_device device;
  int made = 0;
  for (int i = 0; i < kCases; ++i) check(device(), false, made);
  EXPECT_GE(made, kCases * 3 / 4);
}

TEST(RandomFusions, ReducingOnesAgreeWithTheirSteps) {
  std::random_device device;
  int made = 0;
  for (int i = 0; i < kCases; ++i) check(device(), true, made);
  EXPECT_GE(made, kCases * 3 / 4);
}

}  // namespace
}  // namespace kernels_test
