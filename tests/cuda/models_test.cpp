// Whole models on the virtual GPU, and mutants of their kernels that must be found out; those of
// plans are in mutants_test.cpp.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>

#include "bench/models/mlp.h"
#include "tests/cuda/small_bert.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

namespace fs = std::filesystem;

/// Tracing runs the passes of this back end.
Options passes_of(const char* backend) {
  Options options;
  options.backend = backend;
  return options;
}

TEST(Models, BertInAllOrders) {
  for (const auto attention : {bench::Attention::kFused, bench::Attention::kExplicit}) {
    for (const std::int64_t rows : {1, 3}) {
      for (const char* backend : {"host", "cuda"}) {
        const Program program = bert(attention, tokens(rows, 8), passes_of(backend));
        expect_same_in_all_orders(program, {tokens(rows, 8), tokens(rows, 8)});
      }
    }
  }
}

TEST(Models, MlpInAllOrders) {
  const bench::Mlp model(4, 48);
  for (const std::int64_t rows : {1, 5}) {
    for (const char* backend : {"host", "cuda"}) {
      const Program program =
          trace(make_module<1>(model), {at::randn({rows, 48})}, passes_of(backend));
      expect_same_in_all_orders(program, {{at::randn({rows, 48})}, {at::randn({rows, 48})}});
    }
  }
}

TEST(Models, BranchesStayParallel) {
  Module module;
  module.forward = [](const Tensors& in) -> Tensors {
    return {in[0].exp().neg().sin() * 2, in[1].exp().neg().sin() * 3};
  };
  const Program program = trace(module, {at::randn({40}), at::randn({50})});
  Executable e = Executable::build(program, cuda_options());
  const std::string text = e.dump("graph_nodes");
  // Nodes of one output's chain never wait for the other's: two components of equal size.
  std::map<int, int> component;
  const std::regex node("node (\\d+) "), edge("edge (\\d+) -> (\\d+)");
  for (std::sregex_iterator i(text.begin(), text.end(), node), end; i != end; ++i) {
    component[std::stoi((*i)[1])] = std::stoi((*i)[1]);
  }
  for (std::sregex_iterator i(text.begin(), text.end(), edge), end; i != end; ++i) {
    const int from = component[std::stoi((*i)[1])];
    const int to = component[std::stoi((*i)[2])];
    for (auto& [n, c] : component) c = c == to ? from : c;
  }
  std::map<int, int> sizes;
  for (const auto& [n, c] : component) ++sizes[c];
  ASSERT_EQ(sizes.size(), 2u) << text;
  EXPECT_EQ(sizes.begin()->second, sizes.rbegin()->second) << text;
  expect_same_in_all_orders(program, {{at::randn({40}), at::randn({50})}});
}

// ---- mutants of kernels ----

struct Barrier {
  std::string file;
  int line = 0;
};

/// Every barrier in the sources of kernels.
std::vector<Barrier> barriers() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(MONOGRAPH_KERNELS)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  const std::regex barrier("^[^/]*__sync(threads|warp)\\s*\\(");
  std::vector<Barrier> found;
  for (const fs::path& file : files) {
    std::ifstream in(file);
    std::string text;
    for (int line = 1; std::getline(in, text); ++line) {
      if (std::regex_search(text, barrier)) found.push_back({file.filename().string(), line});
    }
  }
  return found;
}

/// One operator each, at a size that takes several warps and several steps of a thread.
std::vector<std::pair<Program, Tensors>> operators() {
  std::vector<std::pair<Program, Tensors>> all;
  const auto add = [&](Tensors inputs, const ForwardFn& forward) {
    Module module;
    module.forward = forward;
    all.emplace_back(trace(module, inputs), inputs);
  };
  const at::Tensor rows = at::randn({3, 1500});
  const at::Tensor scale = at::randn({1500});
  add({rows}, [](const Tensors& in) -> Tensors { return {at::softmax(in[0], -1)}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {at::log_softmax(in[0], -1)}; });
  add({rows, scale},
      [](const Tensors& in) -> Tensors { return {at::layer_norm(in[0], {1500}, in[1], in[1])}; });
  add({rows, scale},
      [](const Tensors& in) -> Tensors { return {at::rms_norm(in[0], {1500}, in[1], 1e-5)}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {std::get<0>(in[0].topk(5))}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {in[0].sum(-1)}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {in[0].mean(0)}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {in[0].amax(-1)}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {in[0].argmax(-1)}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {std::get<0>(in[0].max(-1))}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {in[0].cumsum(-1)}; });
  add({rows, at::randn({70, 1500})},
      [](const Tensors& in) -> Tensors { return {at::linear(in[0], in[1])}; });
  add({at::randn({64, 64}).to(at::kBFloat16), at::randn({64, 64}).to(at::kBFloat16)},
      [](const Tensors& in) -> Tensors { return {at::matmul(in[0], in[1])}; });
  add({at::randn({1, 2, 40, 16}), at::randn({1, 2, 40, 16})}, [](const Tensors& in) -> Tensors {
    return {at::scaled_dot_product_attention(in[0], in[1], in[1])};
  });
  return all;
}

/// Runs `program` with kernels compiled as the environment says; false if the device refuses, or
/// gives another answer than the host.
bool runs_right(const std::pair<Program, Tensors>& op, const std::string& defines, bool races) {
  ::setenv("VGPU_DEFINES", defines.c_str(), 1);
  ::setenv("VGPU_RACES", races ? "1" : "", 1);
  ::setenv("MONOGRAPH_CACHE", "", 1);  // mutants are never kept
  bool right = true;
  try {
    Options host;
    host.backend = "host";
    const auto want = Executable::build(op.first, host).replay(op.second);
    Executable device = Executable::build(op.first, cuda_options());
    for (std::uint64_t s = 0; s < 5 && right; ++s) {
      seed(s);
      const auto got = device.replay(op.second);
      for (std::size_t i = 0; i < got.size(); ++i) {
        right &= at::allclose(got[i].to(at::kDouble), want[i].to(at::kDouble), 2e-2, 2e-2);
      }
    }
  } catch (const Error&) {
    right = false;
  }
  control<decltype(&vgpu_reset)>("vgpu_reset")();
  seed(0);
  ::unsetenv("VGPU_DEFINES");
  ::unsetenv("VGPU_RACES");
  ::unsetenv("MONOGRAPH_CACHE");
  return right;
}

TEST(Mutants, RemovingAnyBarrierOfAnyKernelShows) {
  const auto all = operators();
  for (const auto& op : all) ASSERT_TRUE(runs_right(op, "", true)) << op.first.text();
  for (const Barrier& b : barriers()) {
    const std::string at = b.file + ":" + std::to_string(b.line);
    const std::string place =
        "-DVGPU_MUTATE_LINE=" + std::to_string(b.line) + " '-DVGPU_MUTATE_FILE=\"" + b.file + "\"'";
    const auto op = std::ranges::find_if(
        all, [&](const auto& o) { return !runs_right(o, place + " -DVGPU_MUTATE_STOP=1", false); });
    if (op == all.end()) {
      ADD_FAILURE() << "no operator of this test reaches the barrier at " << at;
      continue;
    }
    EXPECT_FALSE(runs_right(*op, place + " -DVGPU_MUTATE_STOP=0", true))
        << "the barrier at " << at << " isn't needed";
  }
}

}  // namespace
}  // namespace monograph::test
