// The path of a replay with a back end that does nothing: no heap allocation, no copy of inputs.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <monograph/compiled_module.h>

#include <cstdlib>
#include <new>

#include "runtime/exec/backend.h"
#include "tests/host/support.h"

namespace {

thread_local long allocations = 0;

}  // namespace

// Counts every heap allocation of this program, LibTorch's included. Inlined on one side only, as
// instrumentation may have it, they seem not to match.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
void* operator new(std::size_t size) {
  ++allocations;
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, std::size_t) noexcept {
  std::free(p);
}

namespace monograph::test {
namespace {

/// Remembers what it was given.
class NullRunner final : public exec::Runner {
 public:
  void run(const Tensors& inputs, const Tensors& outputs) override {
    ++runs;
    first_input = inputs.front().const_data_ptr();
    first_output = outputs.front().const_data_ptr();
  }
  static inline int runs = 0;
  static inline const void* first_input = nullptr;
  static inline const void* first_output = nullptr;
};

const exec::BackendRegistration kNull({
    .name = "null",
    .choose = [](const ir::Node&) { return lower::Choice{}; },
    .concurrency = plan::Concurrency::kSequential,
    .unavailable = {},
    .build = [](const exec::Planned&, const Options&) -> std::unique_ptr<exec::Runner> {
      return std::make_unique<NullRunner>();
    },
});

Tensors eight_inputs() {
  Tensors inputs;
  for (int i = 0; i < 8; ++i) inputs.push_back(at::randn({4, 1 + i, 3}));
  return inputs;
}

Module sums() {
  Module module;
  module.forward = [](const Tensors& in) -> Tensors {
    at::Tensor sum = in[0].sum();
    for (std::size_t i = 1; i < in.size(); ++i) sum = sum + in[i].sum();
    return {sum};
  };
  return module;
}

TEST(Dispatch, IntoTheCallersOutputsNothingIsAllocated) {
  Options options;
  options.backend = "null";
  CompiledModule compiled(sums(), options);
  const Tensors inputs = eight_inputs();
  Tensors outputs = {at::empty({})};
  compiled(inputs, outputs);
  NullRunner::runs = 0;
  const long before = allocations;
  for (int i = 0; i < 10; ++i) compiled(inputs, outputs);
  EXPECT_EQ(allocations - before, 0);
  EXPECT_EQ(NullRunner::runs, 10);
  EXPECT_EQ(NullRunner::first_input, inputs[0].const_data_ptr()) << "inputs are never copied";
  EXPECT_EQ(NullRunner::first_output, outputs[0].const_data_ptr());
  const long between = allocations;
  (void)compiled(inputs);
  EXPECT_GT(allocations - between, 0) << "the counter counts: fresh outputs are allocated";
}

TEST(Dispatch, ABackEndThatIsUnavailableSaysWhy) {
  static const exec::BackendRegistration absent({
      .name = "absent",
      .choose = [](const ir::Node&) { return lower::Choice{}; },
      .concurrency = plan::Concurrency::kSequential,
      .unavailable = [](const Options&) { return std::string("no such machine"); },
      .build = {},
  });
  Options options;
  options.backend = "absent";
  CompiledModule compiled(sums(), options);
  try {
    compiled(eight_inputs());
    FAIL() << "ran";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kDeviceUnavailable);
    EXPECT_NE(std::string(e.what()).find("no such machine"), std::string::npos);
  }
}

}  // namespace
}  // namespace monograph::test
