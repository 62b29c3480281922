// Profiles and kernel sources of the CUDA back end, on the virtual GPU: launches of a stream are
// told apart, those of one graph are not.
#include <ATen/ATen.h>
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <cstdio>
#include <cstdlib>
#include <random>

#include "runtime/inspect/profile.h"
#include "runtime/inspect/snapshot.h"

namespace monograph {
namespace {

using testing::HasSubstr;

constexpr const char* kGraph = R"(graph g {
  %x : f32[64,96] = placeholder[target=x]
  %relu : f32[64,96] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
  %tanh : f32[64,96] = call_function[target=aten.tanh.default](args = (%relu,), kwargs = {})
  return (%tanh,)
})";

Executable on_virtual_gpu(GraphMode mode) {
  const char* driver = std::getenv("MONOGRAPH_TEST_DRIVER");
  Options options;
  options.backend = "cuda";
  options.cuda_driver = driver != nullptr ? driver : "";
  options.graph_mode = mode;
  return Executable::build(Program::parse(kGraph, {}), options);
}

TEST(CudaProfile, StreamLaunchesAreTimedOneByOne) {
  Executable executable = on_virtual_gpu(GraphMode::kNone);
  const std::vector<at::Tensor> inputs{at::randn({64, 96})};
  const auto p = inspect::profile(executable, inputs, {.warm_up = 1, .runs = 3});
  EXPECT_EQ(p.backend, "cuda");
  ASSERT_EQ(p.nodes.size(), executable.report().launches);
  double sum = 0;
  for (const auto& row : p.nodes) {
    EXPECT_GE(row.median_us, 0) << row.node;
    sum += row.median_us;
  }
  EXPECT_GT(sum, 0);
  EXPECT_TRUE(at::allclose(executable.replay(inputs)[0], inputs[0].relu().tanh(), 1e-5, 1e-6));
}

TEST(CudaProfile, OneGraphCantBeTakenApart) {
  Executable executable = on_virtual_gpu(GraphMode::kFull);
  try {
    (void)inspect::profile(executable, {at::randn({64, 96})}, {.warm_up = 1, .runs = 1});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInvalidOption);
    EXPECT_THAT(e.what(), HasSubstr("GraphMode::kNone"));
  }
}

TEST(CudaProfile, SnapshotsHoldSourcesAndFigures) {
  const Executable executable = on_virtual_gpu(GraphMode::kFull);
  const dump::Snapshot s = inspect::snapshot_of(executable, "g", "f32_64x96");
  ASSERT_FALSE(s.sources.empty());
  for (const dump::Source& source : s.sources) {
    // "// kernel, entry NAME", and NAME is defined further down.
    const std::size_t begin = source.text.find("entry ") + 6;
    const std::string entry = source.text.substr(begin, source.text.find('\n') - begin);
    EXPECT_NE(source.text.find(entry, begin + entry.size()), std::string::npos) << source.text;
    EXPECT_FALSE(source.nodes.empty()) << source.name;
  }
  EXPECT_FALSE(s.predicted_us.empty());
  bool device_graph = false;
  for (const dump::Text& text : s.backend_texts)
    device_graph |= text.name == "graph_nodes" && !text.text.empty();
  EXPECT_TRUE(device_graph);
}

}  // namespace
}  // namespace monograph

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // LibTorch's operators and the emulator's toolchain; before LibTorch is first used.
  const char* client = std::getenv("MONOGRAPH_TEST_CLIENT");
  if (client == nullptr || dlopen(client, RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    std::fprintf(stderr, "MONOGRAPH_TEST_CLIENT must name the virtual GPU's client\n");
    return 2;
  }
  at::manual_seed(std::random_device{}());
  return RUN_ALL_TESTS();
}
