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

}  // namespace
