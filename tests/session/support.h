// What the wrapper's tests share: a layer, a counter, a back end that fails when told to.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <monograph/compiled_module.h>

#include <atomic>
#include <memory>
#include <string>

#include "runtime/exec/backend.h"
#include "tests/host/support.h"

namespace monograph::test {

using at::Tensor;

/// relu(x w + b) that counts how often forward ran.
struct Layer {
  Tensor w = at::randn({4, 5});
  Tensor b = at::randn({5});
  std::shared_ptr<std::atomic<int>> runs = std::make_shared<std::atomic<int>>(0);

  Tensors operator()(const Tensors& in) const {
    ++*runs;
    return {at::relu(at::matmul(in[0], w) + b)};
  }
  Module module() const {
    Module m;
    m.forward = *this;
    m.tensors = {{"w", w, false}, {"b", b, true}};
    m.input_names = {"x"};
    return m;
  }
  Tensor want(const Tensor& x) const { return at::relu(at::matmul(x, w) + b); }
};

/// A forward that adds to a buffer: rejected unless it is declared.
struct Counting {
  Tensor count = at::zeros({1});
  Module module() const {
    Module m;
    m.tensors = {{"count", count, true}};
    m.forward = [count = count](const Tensors& in) -> Tensors {
      count.add_(1);
      return {in[0] + count};
    };
    return m;
  }
};

inline Options with_mode(Mode mode) {
  Options options;
  options.mode = mode;
  return options;
}

template <class Fn>
Error caught(Fn&& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(Code::kInternal, "nothing was thrown");
}

/// The host back end under another name, which can be told to fail or to compute wrongly.
struct Faulty {
  static inline bool fails = false;
  static inline std::string wrong_from;  ///< results of this operator and later ones are off by one

  class Runner final : public exec::Runner {
   public:
    Runner(std::unique_ptr<exec::Runner> host, const exec::Planned& planned)
        : host_(std::move(host)), planned_(planned) {}
    void run(const Tensors& inputs, const Tensors& outputs) override {
      if (fails) throw Error(Code::kDeviceFault, "as the test wants");
      host_->run(inputs, outputs);
      if (wrong_from.empty()) return;
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        if (comes_later(*planned_.lowered.outputs[i])) outputs[i].add_(1);
      }
    }

   private:
    bool comes_later(const ir::Node& output) const {
      for (const auto& node : planned_.graph->nodes()) {
        if (node->is_call(wrong_from)) return true;
        if (node.get() == &output) return false;
      }
      return false;
    }
    std::unique_ptr<exec::Runner> host_;
    const exec::Planned& planned_;
  };

  static std::shared_ptr<const exec::Backend> backend() {
    auto made = std::make_shared<exec::Backend>(exec::find_backend("host"));
    made->name = "faulty";
    made->option_names = {"level"};
    made->build = [](const exec::Planned& planned, const Options& options) {
      auto host = exec::find_backend("host").build(planned, options);
      return std::unique_ptr<exec::Runner>(std::make_unique<Runner>(std::move(host), planned));
    };
    return made;
  }
};

}  // namespace monograph::test
