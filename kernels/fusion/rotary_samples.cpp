#include "kernels/fusion/rotary_samples.h"

#include <memory>
#include <utility>

#include "kernels/elementwise/definitions.h"
#include "kernels/fusion/attention.h"

namespace monograph::kernels::fusion {
namespace {

class Decoding {
 public:
  // Inputs by what they are.
  enum : std::int32_t {
    kQuery,
    kKey,
    kCos,
    kSin,
    kKeys,
    kPosition,
    kWeight,
    kValue,
    kValues,
    kMask
  };

  Decoding(DType dtype, const DecodeSizes& n, bool normed, bool attends)
      : sizes_(n), normed_(normed), attends_(attends) {
    const TensorDesc angles = dense(dtype, {1, 1, 1, n.size});
    TensorDesc cache = dense(dtype, {n.batch, n.heads, n.keys, n.size});
    cache.own = n.own;
    const TensorDesc row = dense(dtype, {n.batch, n.heads, 1, n.size});
    call_.op = "fusion";
    call_.inputs = {dense(dtype, {n.batch, n.heads * n.group, 1, n.size}),
                    row,
                    angles,
                    angles,
                    cache,
                    dense(DType::kI64, {1})};
    if (normed || attends) {
      call_.inputs.push_back(dense(dtype, {n.size}));
      call_.inputs.push_back(row);
      call_.inputs.push_back(cache);
    }
    if (attends) call_.inputs.push_back(dense(DType::kBool, {1, 1, 1, n.keys}, 1));
    next_ = static_cast<std::int32_t>(call_.inputs.size());
    for (std::int32_t i = 0; i < next_; ++i) call_.args.push_back(tensor_argument(i));
  }

  Call make() {
    call_.outputs = {call_.inputs[kQuery]};
    std::int32_t result = turned(kQuery);
    write(kKeys, turned(kKey));
    if (normed_ || attends_) write(kValues, kValue);
    if (attends_) {
      result = add({kAttentionOp,
                    {tensor_argument(result), tensor_argument(kKeys), tensor_argument(kValues),
                     tensor_argument(kMask)},
                    {},
                    call_.outputs[0]});
      if (sizes_.group > 1) {
        body_.steps.back().kwargs.emplace_back("enable_gqa", number_argument(true));
      }
    }
    body_.outputs = {result};
    call_.body = std::make_shared<Body>(std::move(body_));
    return std::move(call_);
  }

 private:
  std::int32_t add(Step s) {
    body_.steps.push_back(std::move(s));
    return next_++;
  }

  std::int32_t half(std::int32_t x, TensorDesc desc, std::int64_t from) {
    desc.sizes[3] = sizes_.size / 2;
    return add({"aten.slice.Tensor",
                {tensor_argument(x), number_argument(std::int64_t{-1}), number_argument(from)},
                {},
                desc,
                x,
                from});
  }

  std::int32_t turned(std::int32_t x) {
    const TensorDesc whole = call_.inputs[static_cast<std::size_t>(x)];
    if (normed_) {
      x = add({"aten.rms_norm.default",
               {tensor_argument(x), number_argument(std::vector<std::int64_t>{sizes_.size}),
                tensor_argument(kWeight), number_argument(1e-6)},
               {},
               whole});
    }
    TensorDesc fresh = whole;
    fresh.sizes[3] = sizes_.size / 2;
    const auto high = half(x, whole, sizes_.size / 2);
    const auto low = half(x, whole, 0);
    const auto neg =
        add({"aten.neg.default", {tensor_argument(high)}, {}, dense(whole.dtype, fresh.sizes)});
    const auto other = add({"aten.cat.default",
                            {{{neg, low}, true, {}}, number_argument(std::int64_t{-1})},
                            {},
                            whole});
    const auto a = add({"aten.mul.Tensor", {tensor_argument(x), tensor_argument(kCos)}, {}, whole});
    const auto b =
        add({"aten.mul.Tensor", {tensor_argument(other), tensor_argument(kSin)}, {}, whole});
    return add({"aten.add.Tensor", {tensor_argument(a), tensor_argument(b)}, {}, whole});
  }

  void write(std::int32_t cache, std::int32_t rows) {
    add({"aten.index_copy_.default",
         {tensor_argument(cache), number_argument(std::int64_t{2}), tensor_argument(kPosition),
          tensor_argument(rows)},
         {},
         call_.inputs[static_cast<std::size_t>(cache)],
         cache,
         0});
  }

  DecodeSizes sizes_;
  bool normed_, attends_;
  Call call_;
  Body body_;
  std::int32_t next_ = 0;
};

}  // namespace

Call rotary_call(DType dtype, const DecodeSizes& sizes, bool normed) {
  return Decoding(dtype, sizes, normed, false).make();
}

Call cached_attention_call(DType dtype, const DecodeSizes& sizes, bool normed) {
  return Decoding(dtype, sizes, normed, true).make();
}

}  // namespace monograph::kernels::fusion
