// An outside project: sees the installed package and nothing else of this repository.
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <monograph/monograph.h>

#include <iostream>

int main() {
  monograph::Module module;
  module.forward = monograph::flat_forward<1>([](const at::Tensor& x) { return at::relu(x); });
  monograph::CompiledModule compiled(module);

  for (int call = 0; call < 3; ++call) {
    const at::Tensor x = at::randn({4, 16});
    const at::Tensor y = compiled({x})[0];
    if (!y.equal(at::relu(x))) {
      std::cerr << "call " << call << " differs from LibTorch\n";
      return 1;
    }
  }
  const monograph::CallCounters counters = compiled.counters();
  std::cout << "engine: " << counters.calls << " calls, " << counters.compiles << " compile\n";
  return counters.calls == 3 && counters.compiles == 1 ? 0 : 1;
}
