// Program::save and load.
#include <ATen/ops/as_strided.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <monograph/executable.h>

#include <cstdlib>
#include <fstream>

#include "capture/import/safetensors.h"
#include "capture/ir/text.h"
#include "capture/trace/program_impl.h"
#include "tests/import/pt2_support.h"

namespace monograph {
namespace {

using testing::data_file;
using testing::error_of;
using ::testing::HasSubstr;
using testing::tensors_of;

class Package : public ::testing::Test {
 protected:
  Package() {
    std::string name = ::testing::TempDir() + "monograph_package_XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~Package() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::filesystem::path file() const { return folder_ / "model.package"; }

  static Program import_ok(const std::string& name, const std::vector<at::Tensor>& inputs) {
    auto outcome = Program::import_pt2(data_file(name + ".pt2"), inputs);
    return std::get<Program>(std::move(outcome));
  }

  /// Saves "nested" with other metadata or tensors, and returns what load says to it.
  Error load_changed(const std::function<void(std::map<std::string, std::string>&,
                                              std::vector<importer::SafetensorsEntry>&)>& change) {
    const auto known = importer::SafetensorsFile::open(data_file("nested.safetensors"));
    import_ok("nested", tensors_of(known, "in_")).save(file());
    const auto saved = importer::SafetensorsFile::open(file());
    auto metadata = saved.metadata();
    auto entries = saved.entries();
    change(metadata, entries);
    importer::write_safetensors(file(), std::move(entries), metadata);
    return error_of([this] { (void)Program::load(file()); });
  }

  std::filesystem::path folder_;
};

class PackageOf : public Package, public ::testing::WithParamInterface<const char*> {};

/// What was saved is what is loaded: the same graph, the same signature, bit for bit the results.
TEST_P(PackageOf, ComesBack) {
  const std::string name = GetParam();
  const auto known = importer::SafetensorsFile::open(data_file(name + ".safetensors"));
  const auto inputs = tensors_of(known, "in_");
  const Program program = import_ok(name, inputs);
  program.save(file());
  const Program loaded = Program::load(file());
  EXPECT_EQ(loaded.text(), program.text());
  ASSERT_EQ(loaded.outputs().size(), program.outputs().size());
  for (std::size_t i = 0; i < loaded.outputs().size(); ++i) {
    EXPECT_EQ(loaded.outputs()[i].path, program.outputs()[i].path);
  }
  auto first = Executable::build(program);
  auto second = Executable::build(loaded);
  for (int round = 0; round < 2; ++round) {
    std::vector<at::Tensor> fed;
    for (const at::Tensor& t : inputs) fed.push_back(round == 0 ? t : t.flip({0}).contiguous());
    const auto wanted = first.replay(fed);
    const auto got = second.replay(fed);
    for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_TRUE(at::equal(got[i], wanted[i]));
  }
}

INSTANTIATE_TEST_SUITE_P(Pt2, PackageOf,
                         ::testing::Values("nested", "shared", "conv", "attention", "bfloat"));

/// Integers that the trace ran on go with it, where they are few.
TEST_F(Package, KeepsExamples) {
  Module module;
  module.forward = [](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    return {in[0].index_select(0, in[1]), in[2].neg()};
  };
  const at::Tensor i = at::randint(0, 5, {3, 2}, at::kLong).t()[1];
  const std::vector<at::Tensor> inputs{at::randn({5, 4}), i, at::randint(9, {5000}, at::kInt)};
  const auto traced = std::get<Program>(Program::trace(module, inputs));
  traced.save(file());
  const std::vector<at::Tensor>& before = traced.impl().examples;
  const std::vector<at::Tensor> after = Program::load(file()).impl().examples;
  ASSERT_EQ(before.size(), 3u);
  ASSERT_EQ(after.size(), 3u);
  EXPECT_FALSE(before[0].defined());
  EXPECT_TRUE(at::equal(before[1], at::as_strided(i, {5}, {1})));
  EXPECT_TRUE(at::equal(before[2], inputs[2]));
  EXPECT_TRUE(at::equal(after[1], before[1]));
  EXPECT_FALSE(after[0].defined());
  EXPECT_FALSE(after[2].defined());
  for (const char* wrong : {"[1, 2]", "[1, 2, 3, 4, \"x\"]"}) {
    const auto saved = importer::SafetensorsFile::open(file());
    auto metadata = saved.metadata();
    auto& signature = metadata["signature"];
    const auto at = signature.find("\"example\":") + 10;
    signature.replace(at, signature.find(']', at) + 1 - at, wrong);
    importer::write_safetensors(folder_ / "wrong", saved.entries(), metadata);
    EXPECT_THAT(error_of([this] { (void)Program::load(folder_ / "wrong"); }).what(),
                HasSubstr("example"));
  }
}

TEST_F(Package, SameProgramSameBytes) {
  const auto known = importer::SafetensorsFile::open(data_file("nested.safetensors"));
  const auto read = [this] {
    std::ifstream in(file(), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  import_ok("nested", tensors_of(known, "in_")).save(file());
  const std::string first = read();
  import_ok("nested", tensors_of(known, "in_")).save(file());
  EXPECT_EQ(read(), first);
}

TEST_F(Package, RefusesNewerVersions) {
  const Error error = load_changed([](auto& metadata, auto&) { metadata["version"] = "7"; });
  EXPECT_EQ(error.code(), Code::kInvalidFile);
  EXPECT_THAT(error.what(), HasSubstr("\"version\" is \"7\", the newest one known is \"1\""));
}

TEST_F(Package, RefusesOtherSafetensorsFiles) {
  const Error error = error_of([] { (void)Program::load(data_file("nested.safetensors")); });
  EXPECT_EQ(error.code(), Code::kInvalidFile);
  EXPECT_THAT(error.what(), HasSubstr("is no package"));
}

TEST_F(Package, RefusesMissingAndSuperfluousWeights) {
  Error error = load_changed([](auto&, auto& entries) { entries.erase(entries.begin()); });
  EXPECT_EQ(error.code(), Code::kInvalidFile);
  EXPECT_THAT(error.what(), HasSubstr("holds no tensor"));
  error = load_changed([](auto&, auto& entries) {
    entries.push_back(entries.front());
    entries.back().name = "unheard.of";
  });
  EXPECT_EQ(error.code(), Code::kInvalidFile);
  EXPECT_THAT(error.what(), HasSubstr("\"unheard.of\" isn't one that the graph reads"));
}

TEST_F(Package, RefusesWeightsOfAnotherShape) {
  const Error error = load_changed([](auto&, auto& entries) {
    for (auto& entry : entries) {
      if (entry.shape.size() == 2) entry.shape = {entry.shape[0] * entry.shape[1]};
    }
  });
  EXPECT_EQ(error.code(), Code::kInvalidFile);
  EXPECT_THAT(error.what(), HasSubstr("differ from the graph's"));
}

TEST_F(Package, RefusesASignatureThatIsNotTheGraphs) {
  const Error error = load_changed([](auto& metadata, auto&) {
    auto& text = metadata["signature"];
    text.replace(text.find("f32[5,4]"), 8, "f32[6,4]");
  });
  EXPECT_EQ(error.code(), Code::kInvalidFile);
  EXPECT_THAT(error.what(), HasSubstr("inputs[0].type"));
}

TEST_F(Package, RefusesBrokenGraphText) {
  const Error error = load_changed([](auto& metadata, auto&) { metadata["graph"].resize(200); });
  EXPECT_EQ(error.code(), Code::kInvalidGraph);
}

}  // namespace
}  // namespace monograph
