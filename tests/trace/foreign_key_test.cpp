// Another library may hold the recorder's dispatch key.
#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/randn.h>
#include <torch/library.h>

#include <memory>

#include "capture/trace/dispatch_key.h"
#include "tests/trace/helpers.h"

namespace monograph::test {
namespace {

void foreign_fallback(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                      torch::jit::Stack* stack) {
  trace::run_below(op, keys, stack);
}

TEST(ForeignKey, ClearErrorWhileHeldAndWorkAfterwards) {
  const Module module = function([](const Tensors& in) { return Tensors{in[0] * 2}; });
  auto foreign = std::make_unique<torch::Library>(torch::Library::IMPL, "_", trace::kRecorderKey,
                                                  __FILE__, __LINE__);
  foreign->fallback(torch::CppFunction::makeFromBoxedFunction<&foreign_fallback>());
  for (int i = 0; i < 2; ++i) {
    try {
      (void)trace::record(module, {at::randn({3})}, "m");
      FAIL() << "the key is taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kInvalidState);
      EXPECT_NE(std::string(e.what()).find("dispatch key 'Fake'"), std::string::npos) << e.what();
    }
  }
  foreign.reset();
  expect_captured(module, {at::randn({3})}, {{at::randn({3})}, {at::randn({3})}});
}

}  // namespace
}  // namespace monograph::test
