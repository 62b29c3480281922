// A call's operators as one chain: a product or convolution, and what is done to its result.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/registry.h"
#include "runtime/cuda/library/match.h"

namespace monograph::cuda::detail {

/// A tensor that is there before the launch: an input of the call, or a view of one.
struct Source {
  std::int32_t input = -1;
  kernels::TensorDesc desc;  ///< as it is looked at; its alignment is that of its first element
  std::int64_t offset = 0;   ///< elements from the input's first one
  OperandPlace place() const { return {input, offset * kernels::itemsize(desc.dtype)}; }
};

/// Reads a call step by step. Everything that isn't a view must follow from the step before it.
class Chain {
 public:
  Chain(const kernels::Call& call, const kernels::Body& body) : call_(call), body_(body) {}

  /// Finds the one step for which `is_core` holds. False with `why`.
  bool find_core(bool (*is_core)(std::string_view op), std::string* why);
  const kernels::Step& core() const { return body_.steps[core_]; }

  /// Calls `take(step)` for each step after the core that works on the chain's value, in order;
  /// `is_value(argument)` tells which argument is that. Views of all of the value are passed over.
  /// False if `take` says so, if something else is computed, or if the call has other results.
  template <class Take>
  bool walk(Take take, std::string* why) {
    root_ = index_of(core_);
    for (std::size_t s = 0; s < body_.steps.size(); ++s) {
      const kernels::Step& step = body_.steps[s];
      if (s == core_ || is_source(index_of(s))) continue;
      if (step.alias >= 0) {
        if (!passes_over(step)) return refuse(why, step.op + " of the product");
      } else if (s < core_ || !uses_value(step)) {
        return refuse(why, step.op + " beside the product");
      } else if (!take(step)) {
        return false;
      } else {
        root_ = index_of(s);
      }
    }
    const bool last = body_.outputs.size() == 1 && root_of(body_.outputs.front()) == root_;
    return last || refuse(why, "other results than the last");
  }

  bool is_value(const kernels::Argument& a) const {
    return a.is_tensor() && root_of(a.tensors.front()) == root_;
  }
  /// The argument as something that is there before the launch.
  std::optional<Source> source(const kernels::Argument* a) const;
  static bool refuse(std::string* why, std::string reason) {
    *why = std::move(reason);
    return false;
  }

 private:
  std::int32_t index_of(std::size_t step) const {
    return static_cast<std::int32_t>(call_.inputs.size() + step);
  }
  bool is_source(std::int32_t value) const;
  /// Whose memory the value lies in.
  std::int32_t root_of(std::int32_t value) const;
  bool passes_over(const kernels::Step& view) const;
  bool uses_value(const kernels::Step& step) const;
  const kernels::TensorDesc& desc(std::int32_t value) const;

  const kernels::Call& call_;
  const kernels::Body& body_;
  std::size_t core_ = 0;
  std::int32_t root_ = -1;  ///< the chain's value; views of all of it are the same
};

/// A number among arguments; nullopt if it is none.
std::optional<double> number(const kernels::Argument* a);

/// Strides under which a tensor of `sizes` and `strides` looks like one of `wanted` sizes, without
/// a copy; nullopt if there are none.
std::optional<std::vector<std::int64_t>> view_strides(const std::vector<std::int64_t>& sizes,
                                                      const std::vector<std::int64_t>& strides,
                                                      const std::vector<std::int64_t>& wanted);

}  // namespace monograph::cuda::detail
