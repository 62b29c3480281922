#include "runtime/host/aten.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/copy.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/error.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "capture/trace/arguments.h"

namespace monograph::host {
namespace {

/// Overload names of each operator that has an `out=` form, sorted.
const std::map<std::string, std::vector<std::string>, std::less<>>& out_overloads() {
  static const auto* table = [] {
    auto* map = new std::map<std::string, std::vector<std::string>, std::less<>>();  // NOLINT
    auto& dispatcher = c10::Dispatcher::singleton();
    for (const c10::OperatorName& name : dispatcher.getAllOpNames()) {
      const auto op = dispatcher.findSchema(name);
      if (!op) continue;
      const auto& args = op->schema().arguments();
      if (!args.empty() && args.back().is_out()) (*map)[name.name].push_back(name.overload_name);
    }
    for (auto& [name, overloads] : *map) std::ranges::sort(overloads);
    return map;
  }();
  return *table;
}

/// Operators whose `out=` form resizes the result to hold what it then reduces.
bool resizes_its_result(const std::string& name) {
  constexpr std::array<std::string_view, 5> kNames{"aten::binary_cross_entropy", "aten::huber_loss",
                                                   "aten::mse_loss", "aten::smooth_l1_loss",
                                                   "aten::soft_margin_loss"};
  return std::ranges::find(kNames, name) != kNames.end();
}

bool takes_same_arguments(const c10::FunctionSchema& plain, const c10::FunctionSchema& out) {
  const auto& a = plain.arguments();
  const auto& b = out.arguments();
  if (b.size() != a.size() + plain.returns().size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].name() != b[i].name() || *a[i].type() != *b[i].type() || b[i].is_out()) return false;
  }
  return std::all_of(b.begin() + static_cast<std::ptrdiff_t>(a.size()), b.end(),
                     [](const c10::Argument& arg) {
                       return arg.is_out() && arg.type()->kind() == c10::TypeKind::TensorType;
                     });
}

bool same_place(const at::Tensor& a, const at::Tensor& b) {
  return a.is_alias_of(b) && a.storage_offset() == b.storage_offset() && a.dtype() == b.dtype();
}

/// A call through boxed arguments that were put together once.
class BoxedStep final : public Step {
 public:
  BoxedStep(c10::OperatorHandle op, std::vector<c10::IValue> args)
      : op_(op),
        args_(std::move(args)),
        direct_(op.hasKernelForDispatchKey(c10::DispatchKey::CPU)) {
    stack_.reserve(args_.size() + 4);
  }

  void run() override {
    call();
    stack_.clear();
  }

 protected:
  /// Leaves the results on the stack.
  void call() {
    trace::assign_for_call(stack_, args_);
    if (direct_) {
      op_.callBoxedForDispatchKey(c10::DispatchKey::CPU, stack_);
    } else {
      op_.callBoxed(stack_);
    }
  }

  c10::OperatorHandle op_;
  std::vector<c10::IValue> args_;
  bool direct_;
  torch::jit::Stack stack_;
  friend class CopyOutStep;
};

/// A call whose kernel makes its own results; they are copied to their places.
class CopyOutStep final : public Step {
 public:
  CopyOutStep(BoxedStep call, std::string node, std::vector<at::Tensor> results)
      : call_(std::move(call)), node_(std::move(node)), results_(std::move(results)) {}

  void run() override {
    call_.call();
    std::size_t index = 0;
    for (const c10::IValue& value : call_.stack_) {
      if (value.isTensorList()) {
        for (const at::Tensor& t : value.toTensorVector()) store(t, index++);
      } else if (value.isTensor()) {
        store(value.toTensor(), index++);
      } else if (value.isNone()) {
        ++index;
      }
    }
    call_.stack_.clear();
  }

 private:
  void store(const at::Tensor& from, std::size_t index) {
    if (index >= results_.size()) return;
    at::Tensor& to = results_[index];
    if (!to.defined() || !from.defined() || same_place(from, to)) return;
    if (from.sizes() != to.sizes() || from.dtype() != to.dtype()) {
      throw Error(
          Code::kInvalidArgument,
          fmt::format("result {} became {}[{}], but {}[{}] was captured: its shape depends "
                      "on data",
                      index, c10::toString(from.scalar_type()), fmt::join(from.sizes(), ","),
                      c10::toString(to.scalar_type()), fmt::join(to.sizes(), ",")),
          node_);
    }
    to.copy_(from);
  }

  BoxedStep call_;
  std::string node_;
  std::vector<at::Tensor> results_;
};

/// Numbers that stand for tensors, made f32 once where LibTorch's iterator would do it (with an
/// allocation) on every call: all other operands are f32, so that is the type computed in.
void settle_numbers(const c10::OperatorHandle& op, std::vector<c10::IValue>& args) {
  if (!op.hasTag(at::Tag::pointwise)) return;
  const auto is_number = [](const c10::IValue& v) {
    return v.isTensor() && v.toTensor().defined() &&
           v.toTensor().unsafeGetTensorImpl()->is_wrapped_number();
  };
  for (const c10::IValue& v : args) {
    if (v.isTensorList() || v.isOptionalTensorList()) return;
    if (v.isTensor() && v.toTensor().defined() && !is_number(v) &&
        v.toTensor().scalar_type() != at::kFloat) {
      return;
    }
  }
  for (c10::IValue& v : args) {
    if (!is_number(v) || v.toTensor().is_complex()) continue;
    at::Tensor settled = v.toTensor().to(at::kFloat);
    settled.unsafeGetTensorImpl()->set_wrapped_number(true);
    v = settled;
  }
}

/// True if every result lies in a storage that an argument has: nothing new is made.
bool writes_only(const Call& call) {
  if (call.node.writes().empty()) return false;
  return std::ranges::all_of(call.node.values(), [&](const ir::Value& value) {
    return value.storage == ir::kNoStorage ||
           std::ranges::any_of(call.node.writes(), [&](const ir::Node* target) {
             return std::ranges::any_of(target->values(), [&](const ir::Value& written) {
               return written.storage == value.storage;
             });
           });
  });
}

}  // namespace

std::optional<c10::OperatorHandle> find_out_variant(const c10::OperatorHandle& op) {
  const auto found = out_overloads().find(op.schema().name());
  if (found == out_overloads().end() || resizes_its_result(found->first)) return std::nullopt;
  for (const std::string& overload : found->second) {
    const auto out = c10::Dispatcher::singleton().findSchema({found->first, overload});
    if (out && takes_same_arguments(op.schema(), out->schema()) &&
        out->hasKernelForDispatchKey(c10::DispatchKey::CPU)) {
      return out;
    }
  }
  return std::nullopt;
}

AtenStep bind_aten(const Call& call) {
  std::vector<c10::IValue> args = call.args;
  settle_numbers(call.op, args);
  if (writes_only(call)) {
    return {std::make_unique<BoxedStep>(call.op, std::move(args)), false};
  }
  const bool complete =
      std::ranges::all_of(call.results, [](const at::Tensor& t) { return t.defined(); });
  if (call.node.writes().empty() && complete && !call.node.is_list()) {
    if (const auto out = find_out_variant(call.op)) {
      for (const at::Tensor& result : call.results) args.emplace_back(result);
      return {std::make_unique<BoxedStep>(*out, std::move(args)), false};
    }
  }
  return {std::make_unique<CopyOutStep>(BoxedStep(call.op, std::move(args)), call.node.name(),
                                        call.results),
          true};
}

}  // namespace monograph::host
