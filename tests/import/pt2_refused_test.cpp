// Archives changed after PyTorch wrote them, so that they ask for more than data: what the import
// says of each. None of them may run.
#include <ATen/ops/rand.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "tests/import/pt2_support.h"
#include "tests/import/zip_writer.h"

namespace monograph {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// draws.pt2 (x + torch.randn(3)), or another archive that takes a vector of 3, with another model,
/// in a file of its own.
class Changed {
 public:
  explicit Changed(const std::function<void(json&)>& change, const char* archive = "draws.pt2")
      : path_(::testing::TempDir() + "/refused_" + std::to_string(::getpid()) + ".pt2") {
    std::ifstream in(testing::data_file(archive), std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(in), {});
    testing::ZipWriter zip;
    for (const auto& e : importer::read_zip(std::as_bytes(std::span(bytes)), archive)) {
      std::string data(reinterpret_cast<const char*>(e.data.data()), e.data.size());
      if (e.name.ends_with("models/model.json")) {
        json model = json::parse(data);
        change(model);
        data = model.dump();
      }
      zip.add(e.name, std::move(data));
    }
    zip.finish(path_);
  }
  ~Changed() { ::unlink(path_.c_str()); }
  Changed(const Changed&) = delete;
  Changed& operator=(const Changed&) = delete;

  Rejection refusal() const {
    auto outcome = Program::import_pt2(path_, {at::rand({3})});
    if (auto* rejection = std::get_if<Rejection>(&outcome)) return *rejection;
    ADD_FAILURE() << "was imported";
    return {};
  }
  Error error(const Options& options = {}) const {
    return testing::error_of([&] { (void)Program::import_pt2(path_, {at::rand({3})}, options); });
  }

 private:
  std::string path_;
};

json& node(json& model, std::size_t i = 0) {
  return model["graph_module"]["graph"]["nodes"][i];
}
json named(const char* name, json argument) {
  return {{"name", name}, {"arg", std::move(argument)}, {"kind", 1}};
}

struct Case {
  const char* name;
  std::function<void(json&)> change;
  Code code;
  const char* says;
};

class Asks : public ::testing::TestWithParam<Case> {};

TEST_P(Asks, ForMoreThanAnArchiveMay) {
  const Rejection rejection = Changed(GetParam().change).refusal();
  EXPECT_EQ(rejection.code, GetParam().code) << rejection.to_string();
  EXPECT_THAT(rejection.to_string(), HasSubstr(GetParam().says));
  EXPECT_THAT(rejection.remedy, Not(IsEmpty()));
}

std::function<void(json&)> target(const char* text) {
  return [text](json& model) { node(model)["target"] = text; };
}
std::function<void(json&)> argument(const json& value) {
  return [value](json& model) { node(model)["inputs"] = {named("x", value)}; };
}

constexpr Code kUnsupported = Code::kRejectedUnsupportedOp;

INSTANTIATE_TEST_SUITE_P(
    Pt2, Asks,
    ::testing::Values(
        Case{"UnknownOperator", target("torch.ops.aten.frobnicate.default"), kUnsupported,
             "aten.frobnicate.default: no operator of that name"},
        Case{"UnknownOverload", target("torch.ops.aten.randn.frobnicate"), kUnsupported,
             "no operator of that name"},
        Case{"OtherNamespace", target("torch.ops.mine.add.default"), kUnsupported,
             "namespace 'mine'"},
        Case{"NoOperator", target("os.system"), kUnsupported, "no operator that is known"},
        Case{"MethodCall", target("torch.ops.higher_order.call_torchbind"), kUnsupported,
             "higher-order operator"},
        Case{"FileReader", target("torch.ops.aten.from_file.default"), kUnsupported,
             "reaches beyond"},
        Case{"FileWriter", target("torch.ops.aten.save.default"), kUnsupported, "aten.save"},
        Case{"Storage", target("torch.ops.aten.set_.source_Storage"), kUnsupported,
             "reaches beyond"},
        Case{"Loop", target("torch.ops.higher_order.while_loop"), Code::kRejectedDataDependence,
             "branches or loops"},
        Case{"CustomObject",
             argument({{"as_custom_obj", {{"name", "queue"}, {"class_fqn", "__torch__.Queue"}}}}),
             kUnsupported, "custom object of class \"__torch__.Queue\""},
        Case{"OperatorAsArgument", argument({{"as_operator", "torch.ops.aten.add.Tensor"}}),
             kUnsupported, "operator \"torch.ops.aten.add.Tensor\""}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Pt2Changed, NamesTheNodeOfAFaultyCall) {
  const Error error = Changed([](json& model) {
                        node(model)["target"] = "torch.ops.aten.ones.default";
                        node(model)["inputs"] = {named("size", {{"as_ints", {-3}}})};
                      }).error();
  EXPECT_EQ(error.code(), Code::kInvalidGraph);
  EXPECT_EQ(error.node(), "randn");
  EXPECT_THAT(error.what(), HasSubstr("aten.ones.default"));
}

TEST(Pt2Changed, NamesTheNodeOfAnUnknownArgument) {
  const Error error = Changed([](json& model) {
                        node(model)["target"] = "torch.ops.aten.ones.default";
                        node(model)["inputs"] = {named("sighs", {{"as_ints", {3}}})};
                      }).error();
  EXPECT_EQ(error.code(), Code::kInvalidGraph);
  EXPECT_EQ(error.node(), "randn");
}

/// Results that the archive lists and the operator doesn't give.
TEST(Pt2Changed, CountsResults) {
  const Error error = Changed([](json& model) {
                        node(model)["target"] = "torch.ops.aten.ones.default";
                        node(model)["inputs"] = {named("size", {{"as_ints", {3}}})};
                        auto& outputs = node(model)["outputs"];
                        outputs.push_back({{"as_tensor", {{"name", "more"}}}});
                      }).error();
  EXPECT_EQ(error.code(), Code::kInvalidGraph);
  EXPECT_THAT(error.what(), HasSubstr("gives 1 results, the archive says 2"));
}

TEST(Pt2Changed, RefusesGraphsForTraining) {
  const Error error = Changed([](json& model) {
                        auto& specs = model["graph_module"]["signature"]["output_specs"];
                        specs[0] = {{"loss_output", {{"arg", {{"name", "add"}}}}}};
                      }).error();
  EXPECT_EQ(error.code(), Code::kInvalidFile);
  EXPECT_THAT(error.what(), HasSubstr("loss_output"));
}

/// Writes of the signature that are allowed, but to what isn't there or doesn't fit.
TEST(Pt2Changed, ChecksWhatTheSignatureWrites) {
  Options options;
  options.graph_mode = GraphMode::kNone;
  const auto written = [&options](const std::function<void(json&)>& change) {
    return Changed(change, "writes_buffer_functional.pt2").error(options);
  };
  const auto output = [](json& model) -> json& {
    return model["graph_module"]["signature"]["output_specs"][0]["buffer_mutation"];
  };
  const Error unknown = written([&](json& model) { output(model)["buffer_name"] = "elsewhere"; });
  EXPECT_EQ(unknown.code(), Code::kInvalidFile);
  EXPECT_THAT(unknown.what(), HasSubstr("models/model.json: the signature writes \"elsewhere\""));
  const Error shape = written([](json& model) {
    node(model)["target"] = "torch.ops.aten.ones.default";
    node(model)["inputs"] = {named("size", {{"as_ints", {2, 3}}})};
  });
  EXPECT_EQ(shape.code(), Code::kInvalidFile);
  EXPECT_THAT(shape.what(), HasSubstr("a weight of f32[3] on cpu a value of f32[2, 3] on cpu"));
}

}  // namespace
}  // namespace monograph
