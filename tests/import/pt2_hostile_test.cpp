// Archives that PyTorch didn't write: real ones with something changed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>

#include <cstdint>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "capture/import/json.h"
#include "capture/import/pt2_archive.h"
#include "capture/import/pt2_graph.h"
#include "capture/import/pytree.h"
#include "capture/import/scalar_ops.h"
#include "tests/import/zip_writer.h"

namespace monograph::importer {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ZipWriter;

std::string bytes_of(const std::string& name) {
  std::ifstream in(std::string(MONOGRAPH_IMPORT_DATA) + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Entries of nested.pt2, to be changed and written again.
class Rewritten {
 public:
  Rewritten() : original_(bytes_of("nested.pt2")) {
    for (const ZipEntry& e : read_zip(std::as_bytes(std::span(original_)), "nested.pt2")) {
      zip.add(e.name, {reinterpret_cast<const char*>(e.data.data()), e.data.size()});
    }
  }

  std::string& entry(const std::string& end) {
    for (ZipWriter::Entry& e : zip.entries) {
      if (e.name.ends_with(end)) return e.data;
    }
    throw std::out_of_range(end);
  }
  void edit(const std::string& end, const std::function<void(json&)>& change) {
    json document = json::parse(entry(end));
    change(document);
    entry(end) = document.dump();
  }
  void edit_model(const std::function<void(json&)>& change) { edit("models/model.json", change); }

  ZipWriter zip;

 private:
  std::string original_;
};

std::string outcome(Rewritten& archive) {
  const std::string bytes = archive.zip.finish();
  try {
    (void)read_pt2_model(read_pt2(std::as_bytes(std::span(bytes)), "x.pt2"));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidFile);
    return error.what();
  }
  return "read";
}

TEST(Pt2Archive, IsReadUnchanged) {
  Rewritten archive;
  EXPECT_EQ(outcome(archive), "read");
}

struct Case {
  const char* name;
  std::function<void(Rewritten&)> change;
  std::vector<std::string> says;
};

class Hostile : public ::testing::TestWithParam<Case> {};

TEST_P(Hostile, IsRefusedByEntryAndField) {
  Rewritten archive;
  GetParam().change(archive);
  const std::string message = outcome(archive);
  for (const std::string& part : GetParam().says) EXPECT_THAT(message, HasSubstr(part));
}

json& node(json& model, std::size_t i) {
  return model["graph_module"]["graph"]["nodes"][i];
}
json& weight(json& config) {
  return config["config"]["inner.0.weight"];
}

Case model(const char* name, std::function<void(json&)> change, std::vector<std::string> says) {
  return {name, [change](Rewritten& a) { a.edit_model(change); }, std::move(says)};
}
Case weights(const char* name, std::function<void(json&)> change, std::vector<std::string> says) {
  says.push_back("config.inner.0.weight");
  return {name, [change](Rewritten& a) { a.edit("model_weights_config.json", change); },
          std::move(says)};
}
Case entry(const char* name, const char* end, const char* text, std::vector<std::string> says) {
  return {name, [=](Rewritten& a) { a.entry(end) = text; }, std::move(says)};
}

INSTANTIATE_TEST_SUITE_P(
    Pt2, Hostile,
    ::testing::ValuesIn(std::vector<Case>{
        entry("NewerArchive", "archive_version", "1",
              {"\"archive_version\" is \"1\"", "known is \"0\""}),
        entry("OtherFormat", "archive_format", "pt3", {"\"archive_format\""}),
        entry("BigEndian", "byteorder", "big", {"\"byteorder\" is \"big\""}),
        entry("NoJson", "models/model.json", "{", {"models/model.json", "not valid JSON"}),
        entry("TwoKeys", "models/model.json", R"({"a": 1, "a": 2})", {"appears twice"}),
        {"NoModel",
         [](Rewritten& a) {
           a.entry("models/model.json");
           a.zip.entries.clear();
           a.zip.add("m/archive_format", "pt2");
           a.zip.add("m/archive_version", "0");
           a.zip.add("m/byteorder", "little");
         },
         {"holds 0 models"}},
        {"Library", [](Rewritten& a) { a.zip.add("nested/data/x.so", "ELF"); }, {"compiled code"}},
        {"Stray", [](Rewritten& a) { a.zip.add("other/x", "y"); }, {"\"other/x\""}},
        model("NewerSchema", [](json& m) { m["schema_version"]["minor"] = 99; },
              {"schema 8.99", "known is 8.20"}),
        model("NewerMajor", [](json& m) { m["schema_version"]["major"] = 9; }, {"schema 9."}),
        model("OlderMajor", [](json& m) { m["schema_version"]["major"] = 7; }, {"the oldest"}),
        model("NoSchema", [](json& m) { m.erase("schema_version"); }, {"\"schema_version\""}),
        model("TargetIsNumber", [](json& m) { node(m, 1)["target"] = 3; },
              {"graph_module.graph.nodes[1].target", "expected a string"}),
        model("UseBeforeDefinition",
              [](json& m) {
                node(m, 1)["inputs"][0]["arg"] = {{"as_tensor", {{"name", "later"}}}};
              },
              {"nodes[1].inputs[0].arg.as_tensor.name", "before it is defined"}),
        model("DefinedTwice", [](json& m) { node(m, 2)["outputs"] = node(m, 1)["outputs"]; },
              {"is defined twice"}),
        model("UnknownArgument",
              [](json& m) {
                node(m, 1)["inputs"][0]["arg"] = {{"as_pickle", "x"}};
              },
              {"unknown kind \"as_pickle\""}),
        model("TwoTags",
              [](json& m) {
                node(m, 1)["inputs"][0]["arg"] = {{"as_int", 1}, {"as_bool", true}};
              },
              {"an object with one field"}),
        model("CustomObject",
              [](json& m) {
                m["graph_module"]["signature"]["input_specs"][0] = {
                    {"custom_obj",
                     {{"arg", {{"name", "x"}, {"class_fqn", "y"}}}, {"custom_obj_name", "z"}}}};
              },
              {"input_specs[0]", "custom objects"}),
        model("MissingWeight",
              [](json& m) {
                m["graph_module"]["signature"]["input_specs"][0]["parameter"]["parameter_name"] =
                    "unheard.of";
              },
              {"has no tensor \"unheard.of\""}),
        model("FewerSpecs", [](json& m) { m["graph_module"]["signature"]["input_specs"].erase(0); },
              {"specs for"}),
        model("MoreOutputs",
              [](json& m) {
                auto& specs = m["graph_module"]["signature"]["output_specs"];
                specs.push_back(specs[0]);
              },
              {"output_specs", "specs for"}),
        weights("Pickle", [](json& c) { weight(c)["use_pickle"] = true; },
                {"pickled data is code"}),
        weights("NoMeta", [](json& c) { weight(c)["tensor_meta"] = nullptr; }, {"custom objects"}),
        weights("Elsewhere", [](json& c) { weight(c)["path_name"] = "../../x"; },
                {"there is no entry"}),
        weights("UnknownType", [](json& c) { weight(c)["tensor_meta"]["dtype"] = 77; }, {"dtype"}),
        weights("NegativeSize",
                [](json& c) { weight(c)["tensor_meta"]["sizes"][0]["as_int"] = -8; },
                {"-8 is negative"}),
        weights("NegativeStride",
                [](json& c) { weight(c)["tensor_meta"]["strides"][0]["as_int"] = -4; },
                {"-4 is negative"}),
        weights("FractionalSize",
                [](json& c) { weight(c)["tensor_meta"]["sizes"][0]["as_int"] = 8.5; },
                {"expected a whole number, got 8.5"}),
        weights("HugeSize",
                [](json& c) {
                  weight(c)["tensor_meta"]["sizes"][0]["as_int"] = std::int64_t{1} << 62;
                  weight(c)["tensor_meta"]["strides"][0]["as_int"] = 0;
                },
                {"more elements than can be addressed"}),
        weights("BeyondRecord",
                [](json& c) { weight(c)["tensor_meta"]["storage_offset"]["as_int"] = 1; },
                {"reach 33 elements", "holds 32"}),
        weights("OverflowingOffset",
                [](json& c) { weight(c)["tensor_meta"]["storage_offset"]["as_int"] = INT64_MAX; },
                {"reach too many elements"}),
        weights("StrideBeyond",
                [](json& c) { weight(c)["tensor_meta"]["strides"][0]["as_int"] = INT64_MAX / 2; },
                {"reach too many elements"}),
        weights("SymbolicSize",
                [](json& c) {
                  weight(c)["tensor_meta"]["sizes"][0] = {{"as_expr", {{"expr_str", "s0"}}}};
                },
                {"\"as_int\" is missing"}),
        weights("ManyDimensions",
                [](json& c) {
                  auto& sizes = weight(c)["tensor_meta"]["sizes"];
                  while (sizes.size() < 65) sizes.push_back({{"as_int", 1}});
                },
                {"more than 64 dimensions"})}),
    [](const auto& test) { return std::string(test.param.name); });

/// Every truncation of the file is an error, never a crash or a model.
TEST(Pt2Archive, RefusesTruncations) {
  const std::string bytes = bytes_of("nested.pt2");
  for (std::size_t length = 0; length < bytes.size(); length += 97) {
    const auto part = std::as_bytes(std::span(bytes)).first(length);
    EXPECT_THROW((void)read_pt2(part, "x.pt2"), Error) << length;
  }
}

TEST(Pt2Archive, RefusesAWrongCrc) {
  std::string bytes = bytes_of("nested.pt2");
  const std::size_t at = bytes.find("torch.ops.aten.linear");
  bytes[at] = 'T';
  try {
    (void)read_pt2(std::as_bytes(std::span(bytes)), "x.pt2");
    FAIL() << "was accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("\"nested/models/model.json\": its bytes don't have the CRC"));
  }
}

TEST(Json, BoundsDepthValuesAndStrings) {
  const auto refuse = [](const std::string& text, const JsonLimits& limits) {
    try {
      (void)parse_json(text, "file", limits);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("parsed");
  };
  JsonLimits limits;
  limits.depth = 3;
  EXPECT_EQ(refuse("[[[1]]]", limits), "parsed");
  EXPECT_THAT(refuse("[[[[1]]]]", limits), HasSubstr("deeper than the 3"));
  EXPECT_THAT(refuse(std::string(1 << 20, '['), limits), HasSubstr("deeper than the 3"));
  limits.values = 4;
  EXPECT_EQ(refuse("[1,2,3]", limits), "parsed");
  EXPECT_THAT(refuse("[1,2,3,4]", limits), HasSubstr("more than the 4 values"));
  limits.string_bytes = 5;
  EXPECT_THAT(refuse("\"123456\"", limits), HasSubstr("a string of 6 bytes"));
  EXPECT_THAT(refuse("{\"123456\": 1}", limits), HasSubstr("a string of 6 bytes"));
  limits.bytes = 9;
  EXPECT_THAT(refuse("[1,2,3,4,5]", limits), HasSubstr("11 bytes of JSON"));
  EXPECT_THAT(refuse("[1] [2]", {}), HasSubstr("not valid JSON at byte"));
}

TEST(Pytree, NamesLeaves) {
  const std::string spec =
      R"([1, {"type": "builtins.tuple", "context": "null", "children_spec": [)"
      R"({"type": null, "context": null, "children_spec": []},)"
      R"({"type": "builtins.dict", "context": "[\"a\", 3]", "children_spec": [)"
      R"({"type": null, "context": null, "children_spec": []},)"
      R"({"type": "builtins.list", "context": "null", "children_spec": [)"
      R"({"type": null, "context": null, "children_spec": []}]}]}]}])";
  EXPECT_THAT(pytree_leaves(spec, "x"), ElementsAre("[0]", "[1]['a']", "[1][3][0]"));
  EXPECT_THROW((void)pytree_leaves(R"([2, {"type": null}])", "x"), Error);
}

TEST(ScalarOps, FollowPython) {
  const auto value = [](const char* op, std::vector<Number> args) {
    return evaluate_number(op, args).value_or(Number(-12345.0));
  };
  const auto n = [](std::int64_t v) { return Number(v); };
  EXPECT_EQ(value("_operator.floordiv", {n(-7), n(2)}), n(-4));
  EXPECT_EQ(value("_operator.mod", {n(-7), n(2)}), n(1));
  EXPECT_EQ(value("_operator.mod", {n(7), n(-3)}), n(-2));
  EXPECT_EQ(value("_operator.truediv", {n(7), n(2)}), Number(3.5));
  EXPECT_EQ(value("_operator.pow", {n(2), n(10)}), n(1024));
  EXPECT_EQ(value("torch.sym_max", {n(3), n(9)}), n(9));
  EXPECT_EQ(value("torch.sym_min", {n(3), n(9)}), n(3));
  EXPECT_EQ(value("math.trunc", {Number(-2.5)}), n(-2));
  EXPECT_EQ(value("_operator.eq", {n(3), Number(3.0)}), Number(true));
  EXPECT_EQ(value("torch.sym_not", {Number(false)}), Number(true));
  EXPECT_FALSE(evaluate_number("_operator.floordiv", {n(1), n(0)}));
  EXPECT_FALSE(evaluate_number("_operator.mul", {n(INT64_MAX), n(2)}));
  EXPECT_FALSE(evaluate_number("_operator.floordiv", {n(INT64_MIN), n(-1)}));
  EXPECT_FALSE(evaluate_number("_operator.add", {n(1)}));
  EXPECT_FALSE(evaluate_number("os.system", {n(1)}));
}

}  // namespace
}  // namespace monograph::importer
