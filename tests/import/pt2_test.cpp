// Archives that PyTorch wrote: what becomes of them, and what is refused.
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/zeros.h>
#include <monograph/executable.h>

#include <algorithm>
#include <fstream>

#include "capture/ir/graph.h"
#include "capture/ir/text.h"
#include "tests/import/pt2_support.h"

namespace monograph {
namespace {

using ::testing::Contains;
using testing::data_file;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::tensors_of;

Program import_ok(const std::string& name, const std::vector<at::Tensor>& inputs) {
  auto outcome = Program::import_pt2(data_file(name + ".pt2"), inputs);
  if (auto* rejection = std::get_if<Rejection>(&outcome)) {
    throw RejectedError(*rejection);
  }
  return std::get<Program>(std::move(outcome));
}

Rejection import_refused(const std::string& name, const std::vector<at::Tensor>& inputs) {
  auto outcome = Program::import_pt2(data_file(name + ".pt2"), inputs);
  if (auto* rejection = std::get_if<Rejection>(&outcome)) return *rejection;
  ADD_FAILURE() << name << " was imported";
  return {};
}

void expect_close(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].scalar_type(), wanted[i].scalar_type()) << "output " << i;
    ASSERT_EQ(got[i].sizes(), wanted[i].sizes()) << "output " << i;
    const bool half = got[i].scalar_type() == at::kHalf || got[i].scalar_type() == at::kBFloat16;
    EXPECT_TRUE(at::allclose(got[i].to(at::kDouble), wanted[i].to(at::kDouble), half ? 1e-2 : 1e-5,
                             half ? 1e-3 : 1e-5))
        << "output " << i;
  }
}

class Archive : public ::testing::TestWithParam<const char*> {};

/// Each archive, specialised to two sets of inputs, gives what eager PyTorch gave, on every replay.
TEST_P(Archive, ReplaysWhatEagerComputed) {
  const std::string name = GetParam();
  const auto known = importer::SafetensorsFile::open(data_file(name + ".safetensors"));
  for (const std::string set : {"", "again."}) {
    const auto inputs = tensors_of(known, set + "in_");
    const auto wanted = tensors_of(known, set + "out_");
    ASSERT_FALSE(inputs.empty());
    ASSERT_FALSE(wanted.empty());
    auto executable = Executable::build(import_ok(name, inputs));
    std::vector<at::Tensor> other;
    for (const at::Tensor& t : inputs) other.push_back(t.flip({0}).contiguous());
    expect_close(executable.replay(inputs), wanted);
    executable.replay(other);
    expect_close(executable.replay(inputs), wanted);
  }
}

INSTANTIATE_TEST_SUITE_P(Pt2, Archive,
                         ::testing::Values("nested", "shared", "conv", "attention", "half",
                                           "bfloat", "nested_2_15", "attention_2_15"));

TEST(Pt2, KeepsNamesModulePathsAndStackTraces) {
  const auto known = importer::SafetensorsFile::open(data_file("nested.safetensors"));
  Options options;
  options.passes = {"dead_code"};
  auto outcome = Program::import_pt2(data_file("nested.pt2"), tensors_of(known, "in_"), options);
  const Program& program = std::get<Program>(outcome);
  const ir::Node* linear = program.graph().find("linear");
  ASSERT_NE(linear, nullptr);
  EXPECT_EQ(linear->target(), "aten.linear.default");
  EXPECT_EQ(linear->module_path, "inner.0");
  EXPECT_THAT(linear->source, HasSubstr("return F.linear(input, self.weight, self.bias)"));
  EXPECT_NE(program.graph().find("relu"), nullptr);
}

TEST(Pt2, NamesWeightsByKind) {
  const auto known = importer::SafetensorsFile::open(data_file("nested.safetensors"));
  Options options;
  options.passes = {"dead_code"};
  auto outcome = Program::import_pt2(data_file("nested.pt2"), tensors_of(known, "in_"), options);
  std::map<std::string, ir::StorageKind> kinds;
  for (const ir::Storage& s : std::get<Program>(outcome).graph().storages()) kinds[s.name] = s.kind;
  EXPECT_EQ(kinds["inner.0.weight"], ir::StorageKind::kParameter);
  EXPECT_EQ(kinds["kept"], ir::StorageKind::kBuffer);
  EXPECT_EQ(kinds["derived"], ir::StorageKind::kBuffer);
  EXPECT_EQ(kinds["constant"], ir::StorageKind::kConstant);
}

TEST(Pt2, SaysWhereInputsAndOutputsStand) {
  const auto known = importer::SafetensorsFile::open(data_file("nested.safetensors"));
  const Program program = import_ok("nested", tensors_of(known, "in_"));
  ASSERT_EQ(program.inputs().size(), 2U);
  EXPECT_EQ(program.inputs()[1].name, "extra_q");
  EXPECT_EQ(program.inputs()[1].path, "[0][1]['q']");
  ASSERT_EQ(program.outputs().size(), 2U);
  EXPECT_EQ(program.outputs()[0].path, "['y']");
  EXPECT_EQ(program.outputs()[1].path, "['rest'][0]");
}

TEST(Pt2, ListsInputsWithoutImporting) {
  const auto specs = Program::pt2_inputs(data_file("nested.pt2"));
  ASSERT_EQ(specs.size(), 2U);
  EXPECT_EQ(specs[0].name, "x");
  EXPECT_EQ(specs[0].to_string(), "f32[5,4]");
}

TEST(Pt2, RefusesInputsThatDoNotFit) {
  const auto import_with = [](std::vector<at::Tensor> inputs) {
    return error_of([&] { (void)Program::import_pt2(data_file("nested.pt2"), inputs); });
  };
  EXPECT_EQ(import_with({at::rand({5, 4})}).code(), Code::kInvalidArgument);
  EXPECT_THAT(import_with({at::rand({5, 4})}).what(), HasSubstr("x, extra_q"));
  EXPECT_THAT(import_with({at::rand({5, 5}), at::rand({3})}).what(), HasSubstr("input 'x'"));
  EXPECT_THAT(import_with({at::rand({5, 4}).to(at::kDouble), at::rand({3})}).what(),
              HasSubstr("got f64"));
  EXPECT_THAT(import_with({at::rand({10, 4}), at::rand({3})}).what(),
              HasSubstr("must lie in [2, 9]"));
}

struct Refusal {
  const char* name;
  Code code;
  const char* says;
};

class Refused : public ::testing::TestWithParam<Refusal> {};

TEST_P(Refused, NamesTheReason) {
  const Refusal& wanted = GetParam();
  const Rejection rejection = import_refused(wanted.name, {at::rand({3})});
  EXPECT_EQ(rejection.code, wanted.code) << rejection.to_string();
  EXPECT_THAT(rejection.to_string(), HasSubstr(wanted.says));
  EXPECT_THAT(rejection.remedy, Not(IsEmpty()));
}

INSTANTIATE_TEST_SUITE_P(
    Pt2, Refused,
    ::testing::Values(Refusal{"writes_buffer", Code::kRejectedMutation, "count"},
                      Refusal{"writes_buffer_functional", Code::kRejectedMutation,
                              "buffer 'count'"},
                      Refusal{"writes_input", Code::kRejectedMutation, "'x'"},
                      Refusal{"writes_input_functional", Code::kRejectedMutation, "input 'x'"},
                      Refusal{"branches", Code::kRejectedDataDependence, "higher_order.cond"},
                      Refusal{"reads", Code::kRejectedDataDependence, "item"},
                      Refusal{"draws", Code::kRejectedRandom, "randn"}),
    [](const auto& test) { return std::string(test.param.name); });

/// A buffer that forward writes, in place or by the signature: refused unless it is declared.
class WrittenBuffer : public ::testing::TestWithParam<const char*> {};

TEST_P(WrittenBuffer, DeclaredItIsWrittenOncePerReplay) {
  const std::string file = std::string("writes_buffer") + GetParam() + ".pt2";
  Options options;
  options.backend = "host";
  options.mutable_state = {"count"};
  for (int import = 0; import < 2; ++import) {  // the second one begins at 0 again
    auto outcome = Program::import_pt2(data_file(file), {at::rand({3})}, options);
    ASSERT_TRUE(std::holds_alternative<Program>(outcome))
        << std::get<Rejection>(outcome).to_string();
    auto executable = Executable::build(std::get<Program>(outcome), options);
    for (int call = 1; call <= 3; ++call) {
      const at::Tensor x = at::rand({3});
      const auto got = executable.replay({x});
      ASSERT_EQ(got.size(), 1U) << "the state is no result";
      EXPECT_TRUE(at::allclose(got[0], x + call)) << "call " << call;
    }
  }
}

TEST(Pt2, StateThatFitsNothingIsAnErrorByName) {
  Options options;
  options.mutable_state = {"countess"};
  const Error error = error_of(
      [&] { (void)Program::import_pt2(data_file("writes_buffer.pt2"), {at::rand({3})}, options); });
  EXPECT_EQ(error.code(), Code::kInvalidOption);
  EXPECT_THAT(error.what(), HasSubstr("there are: 'count'"));
}

TEST_P(WrittenBuffer, WithoutGraphsItIsAnEffectInOrder) {
  Options options;
  options.backend = "host";
  options.graph_mode = GraphMode::kNone;
  const auto path = data_file(std::string("writes_buffer") + GetParam() + ".pt2");
  auto outcome = Program::import_pt2(path, {at::rand({3})}, options);
  ASSERT_TRUE(std::holds_alternative<Program>(outcome)) << std::get<Rejection>(outcome).to_string();
  auto executable = Executable::build(std::get<Program>(outcome), options);
  for (int call = 1; call <= 2; ++call) {
    EXPECT_TRUE(at::allclose(executable.replay({at::zeros({3})})[0],
                             at::full({3}, static_cast<double>(call))));
  }
}
INSTANTIATE_TEST_SUITE_P(Pt2, WrittenBuffer, ::testing::Values("", "_functional"),
                         [](const auto& test) {
                           return *test.param == 0 ? "InPlace" : "InTheSignature";
                         });

TEST(Pt2, InputsMayNotBeWrittenEvenWhereWeightsMay) {
  Options options;
  options.graph_mode = GraphMode::kNone;
  for (const char* name : {"writes_input", "writes_input_functional"}) {
    auto outcome =
        Program::import_pt2(data_file(std::string(name) + ".pt2"), {at::rand({3})}, options);
    ASSERT_TRUE(std::holds_alternative<Rejection>(outcome)) << name;
    EXPECT_EQ(std::get<Rejection>(outcome).code, Code::kRejectedMutation) << name;
  }
}

TEST(Pt2, RefusesOperatorsOutsideOfTheAllowedNamespaces) {
  const auto known = importer::SafetensorsFile::open(data_file("half.safetensors"));
  Options options;
  options.op_namespaces = {"mine"};
  auto outcome = Program::import_pt2(data_file("half.pt2"), tensors_of(known, "in_"), options);
  ASSERT_TRUE(std::holds_alternative<Rejection>(outcome));
  const auto& rejection = std::get<Rejection>(outcome);
  EXPECT_EQ(rejection.code, Code::kRejectedUnsupportedOp);
  EXPECT_THAT(rejection.reason, HasSubstr("namespace 'aten'"));
}

TEST(Pt2, LeavesTheFileAlone) {
  const auto path = data_file("shared.pt2");
  const auto read = [&] {
    std::ifstream in(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const std::string before = read();
  const auto known = importer::SafetensorsFile::open(data_file("shared.safetensors"));
  const auto inputs = tensors_of(known, "in_");
  Executable::build(import_ok("shared", inputs)).replay(inputs);
  EXPECT_EQ(read(), before);
}

/// Weights of one storage stay one: the head reads the embedding's memory.
TEST(Pt2, SharedWeightsShareAStorage) {
  const auto known = importer::SafetensorsFile::open(data_file("shared.safetensors"));
  const Program program = import_ok("shared", tensors_of(known, "in_"));
  std::vector<ir::StorageId> ids;
  for (const auto& node : program.graph().nodes()) {
    if (node->kind() == ir::NodeKind::kGetAttr && node->target() != "turned") {
      ids.push_back(node->storage());
    }
  }
  ASSERT_FALSE(ids.empty());
  EXPECT_TRUE(std::ranges::all_of(ids, [&](auto id) { return id == ids.front(); }));
}

TEST(TorchScript, NeedsTrust) {
  const Error error =
      error_of([] { (void)Program::import_torchscript("any.pt", {}, Program::Trust::kUntrusted); });
  EXPECT_EQ(error.code(), Code::kInvalidArgument);
  EXPECT_THAT(error.what(), HasSubstr("TorchScript is code"));
}

TEST(TorchScript, ReplaysWhatEagerComputed) {
  const auto known = importer::SafetensorsFile::open(data_file("scripted.safetensors"));
  const auto inputs = tensors_of(known, "in_");
  auto outcome =
      Program::import_torchscript(data_file("scripted.pt"), inputs, Program::Trust::kTrusted);
  auto executable = Executable::build(std::get<Program>(outcome));
  expect_close(executable.replay(inputs), tensors_of(known, "out_"));
  executable.replay({inputs[1], inputs[0]});
  expect_close(executable.replay(inputs), tensors_of(known, "out_"));
}

/// What a script does to its attributes no operator shows; a replay couldn't do it.
TEST(TorchScript, RefusesStateInAttributes) {
  const auto subject = [](const std::string& name) {
    auto outcome =
        Program::import_torchscript(data_file(name), {at::rand({3})}, Program::Trust::kTrusted);
    if (std::holds_alternative<Program>(outcome)) return "imported " + name;
    const auto& rejection = std::get<Rejection>(outcome);
    EXPECT_EQ(rejection.code, Code::kRejectedRebinding) << rejection.to_string();
    EXPECT_THAT(rejection.remedy, Not(IsEmpty()));
    return rejection.subject;
  };
  EXPECT_EQ(subject("script_keeps.pt"), "last");
  EXPECT_EQ(subject("script_counts.pt"), "calls");
  EXPECT_EQ(subject("script_lists.pt"), "sizes.size");
}

TEST(TorchScript, SaysWhatCannotBeLoaded) {
  const Error error = error_of([] {
    (void)Program::import_torchscript(data_file("nested.pt2"), {}, Program::Trust::kTrusted);
  });
  EXPECT_EQ(error.code(), Code::kInvalidFile);
}

}  // namespace
}  // namespace monograph
