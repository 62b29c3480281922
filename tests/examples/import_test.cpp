// Code that docs/importing.md and README show.
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <filesystem>
#include <iostream>

#include "tests/import/pt2_support.h"

namespace {

// [import]
std::vector<at::Tensor> run_archive(const std::string& path,
                                    const std::vector<at::Tensor>& inputs) {
  auto imported = monograph::Program::import_pt2(path, inputs);
  if (auto* rejection = std::get_if<monograph::Rejection>(&imported)) {
    throw monograph::RejectedError(*rejection);
  }
  auto executable = monograph::Executable::build(std::get<monograph::Program>(imported));
  return executable.replay(inputs);
}
// [/import]

// [pt2]
at::Tensor three_lines(const std::vector<at::Tensor>& inputs, const std::string& path) {
  auto program = monograph::Program::import_pt2(path, inputs);
  auto executable = monograph::Executable::build(std::get<monograph::Program>(program));
  return executable.replay(inputs)[0];
}
// [/pt2]

TEST(Example, AnArchiveRunsAsItDidInPython) {
  using monograph::testing::data_file;
  const auto known = monograph::importer::SafetensorsFile::open(data_file("conv.safetensors"));
  const auto inputs = monograph::testing::tensors_of(known, "in_");
  const auto wanted = monograph::testing::tensors_of(known, "out_");
  const std::string path = data_file("conv.pt2").string();
  EXPECT_TRUE(run_archive(path, inputs)[0].allclose(wanted[0], 1e-5, 1e-5));
  EXPECT_TRUE(three_lines(inputs, path).allclose(wanted[0], 1e-5, 1e-5));
}

// [state]
/// One result for each of `steps`; every step writes the archive's caches, in memory of its own.
std::vector<at::Tensor> decode(const std::string& path,
                               const std::vector<std::vector<at::Tensor>>& steps) {
  monograph::Options options;
  options.mutable_state = {"keys", "values"};
  auto imported = monograph::Program::import_pt2(path, steps.front(), options);
  if (auto* rejection = std::get_if<monograph::Rejection>(&imported)) {
    throw monograph::RejectedError(*rejection);
  }
  auto executable = monograph::Executable::build(std::get<monograph::Program>(imported), options);
  std::vector<at::Tensor> results;
  for (const auto& inputs : steps) results.push_back(executable.replay(inputs)[0]);
  return results;
}
// [/state]

TEST(Example, AnArchivesCachesAreDeclaredState) {
  using monograph::testing::data_file;
  const auto known = monograph::importer::SafetensorsFile::open(data_file("cache.safetensors"));
  std::vector<std::vector<at::Tensor>> steps;
  for (int i = 0; i < 4; ++i) {
    steps.push_back(monograph::testing::tensors_of(known, "step" + std::to_string(i) + ".in_"));
  }
  for (const char* archive : {"cache.pt2", "cache_functional.pt2"}) {
    const std::string path = data_file(archive).string();
    const auto results = decode(path, steps);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const auto prefix = "step" + std::to_string(i) + ".out_";
      const auto wanted = monograph::testing::tensors_of(known, prefix);
      EXPECT_TRUE(results[i].allclose(wanted[0], 1e-5, 1e-5)) << archive << ", step " << i;
    }
    auto undeclared = monograph::Program::import_pt2(path, steps.front());
    ASSERT_TRUE(std::holds_alternative<monograph::Rejection>(undeclared)) << archive;
    EXPECT_EQ(std::get<monograph::Rejection>(undeclared).code, monograph::Code::kRejectedMutation);
  }
}

}  // namespace
