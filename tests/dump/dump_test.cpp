// Dump folders: what is written, that it says what is true, and that nothing is replaced.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "capture/ir/cost.h"
#include "capture/ir/text.h"
#include "runtime/dump/folder.h"
#include "runtime/dump/json.h"
#include "runtime/dump/model_explorer.h"
#include "runtime/dump/page.h"
#include "runtime/dump/trace_events.h"
#include "runtime/dump/write.h"
#include "tests/dump/models.h"

namespace monograph::dump {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Made;
using ::testing::Not;

class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(claim_folder(fs::temp_directory_path(), "monograph_dump_" + name)) {}
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  EXPECT_TRUE(in) << file;
  return {std::istreambuf_iterator<char>(in), {}};
}

std::set<std::string> files(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

TEST(Write, HoldsEveryStageOnce) {
  const Folder folder("stages");
  const Made made = testing::make(testing::encoder(2), "model");
  write(made.snapshot, folder.path());
  EXPECT_EQ(files(folder.path()),
            (std::set<std::string>{"00_trace.txt", "01_dead_code.txt", "01_dead_code.diff",
                                   "launches.txt", "plan.txt", "plan.dot", "dump.json",
                                   "index.html", "model_explorer.json"}));
  // The last stage is the graph that was lowered, and both files parse back.
  EXPECT_TRUE(ir::same(ir::parse(read(folder.path() / "01_dead_code.txt")), *made.graph));
  EXPECT_NE(read(folder.path() / "00_trace.txt"), read(folder.path() / "01_dead_code.txt"));
  EXPECT_EQ(read(folder.path() / "plan.txt"), plan::text(*made.plan));
}

TEST(Write, NeverReplacesAFile) {
  const Folder folder("again");
  const Made made = testing::make(testing::encoder(1), "model");
  write_file(folder.path() / "dump.json", "mine");
  EXPECT_THROW(write(made.snapshot, folder.path()), fs::filesystem_error);
  EXPECT_EQ(read(folder.path() / "dump.json"), "mine");
}

TEST(Write, FoldersAreClaimedOneByOne) {
  const Folder folder("claims");
  EXPECT_EQ(claim_folder(folder.path(), "f32_4").filename(), "f32_4");
  EXPECT_EQ(claim_folder(folder.path(), "f32_4").filename(), "f32_4-2");
  EXPECT_EQ(claim_folder(folder.path(), "f32_4").filename(), "f32_4-3");
}

TEST(Write, NamesBecomeSafeFileNames) {
  EXPECT_EQ(file_name("encoder.layer-0"), "encoder.layer-0");
  EXPECT_EQ(file_name("../../etc/x y"), "_.._.._etc_x_y");
  EXPECT_EQ(file_name(""), "_");
  EXPECT_LE(file_name(std::string(500, 'x')).size(), 121U);
}

TEST(Write, RejectionAlone) {
  const Folder folder("rejected");
  write(testing::rejected().snapshot, folder.path());
  EXPECT_EQ(files(folder.path()),
            (std::set<std::string>{"dump.json", "index.html", "rejection.txt"}));
  EXPECT_THAT(read(folder.path() / "rejection.txt"), HasSubstr(">>> %add_"));
  EXPECT_EQ(json::parse(read(folder.path() / "dump.json"))["rejection"]["code"],
            "RejectedMutation");
}

TEST(Write, BackEndTextsAndSources) {
  const Folder folder("backend");
  write(testing::hostile().snapshot, folder.path());
  EXPECT_THAT(read(folder.path() / "device_graph.dot"), HasSubstr("n0 -> n0;"));
  EXPECT_TRUE(fs::exists(folder.path() / "kernels" / "evil__script_.cu"));
}

/// dump.json against the graph, the lowering and the plan it was made from.
TEST(Json, NodesAndLaunchesAreThoseOfTheGraph) {
  Made made = testing::make(testing::encoder(3), "model");
  made.snapshot.measured_us["gelu_1"] = 12.5;
  const json j = json::parse(json_text(made.snapshot));
  EXPECT_EQ(j["format"], "monograph-dump");
  ASSERT_EQ(j["nodes"].size(), made.graph->size());
  std::size_t i = 0;
  double flops = 0;
  for (const auto& node : made.graph->nodes()) {
    const auto& row = j["nodes"][i++];
    EXPECT_EQ(row["name"], node->name());
    EXPECT_EQ(row["target"], node->target());
    if (node->has_tensor()) {
      EXPECT_EQ(row["bytes"], node->type().nbytes());
      EXPECT_EQ(row["type"], ir::text(node->type()));
      const std::string line = j["lines"][row["line"].get<std::size_t>()];
      EXPECT_THAT(line, HasSubstr("%" + node->name() + " : "));
    }
    EXPECT_EQ(row.contains("launch"),
              node->kind() == ir::NodeKind::kCallFunction && !ir::is_view(*node));
    if (row.contains("launch")) {
      EXPECT_EQ(j["launches"][row["launch"].get<std::size_t>()]["node"], node->name());
      EXPECT_EQ(row["moved"], ir::cost_of(*node).bytes);
    }
    flops += row.value("flops", 0.0);
    EXPECT_EQ(row.contains("measured_us"), node->name() == "gelu_1");
  }
  // Two tokens' worth of arithmetic, by hand: per layer 4 products of 64x64, two of 64x256, and
  // attention; one product of 64x64 at the end.
  const double tokens = 32;
  const double layer = 2 * tokens * (4 * 64 * 64 + 2 * 64 * 256) + 4 * tokens * tokens * 64;
  EXPECT_EQ(flops, 3 * layer + 2 * tokens * 64 * 64);
  EXPECT_EQ(j["launches"].size(), made.lowered->launches.size());
  EXPECT_EQ(j["plan"]["edges"].size(), made.plan->edges.size());
  EXPECT_EQ(j["plan"]["placements"].size(), made.plan->placements.size());
  EXPECT_EQ(j["plan"]["arena_bytes"], made.plan->arena_bytes);
}

TEST(Json, StagesComeBackLineByLine) {
  const Made made = testing::make(testing::encoder(2), "model");
  const json j = json::parse(json_text(made.snapshot));
  ASSERT_EQ(j["stages"].size(), made.snapshot.stages.size());
  for (std::size_t s = 0; s < j["stages"].size(); ++s) {
    std::string text;
    for (const auto& line : j["stages"][s]["lines"]) {
      text += j["lines"][line.get<std::size_t>()].get<std::string>() + "\n";
    }
    EXPECT_EQ(text, made.snapshot.stages[s].text);
  }
  const auto& passes = j["passes"];
  EXPECT_EQ(passes[0]["name"], "dead_code");
  EXPECT_EQ(passes[0]["stage"], 1);
  EXPECT_FALSE(passes[1].contains("stage"));
}

TEST(Json, SameBytesForTheSameSnapshot) {
  const Made made = testing::make(testing::encoder(2), "model");
  EXPECT_EQ(json_text(made.snapshot), json_text(made.snapshot));
}

TEST(Json, CutsTextsThatAreTooLong) {
  const Made made = testing::make(testing::encoder(2), "model");
  const json j = json::parse(json_text(made.snapshot, 1000));
  EXPECT_TRUE(j["stages"][0].contains("lines"));
  EXPECT_EQ(j["stages"][1]["cut"], true);
}

TEST(Json, SurvivesHostileNames) {
  const Made made = testing::hostile();
  const json j = json::parse(json_text(made.snapshot));
  EXPECT_EQ(j["module"], made.snapshot.module);
  EXPECT_EQ(j["nodes"][0]["target"], made.snapshot.module);
  EXPECT_THAT(j["nodes"][1]["source"].get<std::string>(), HasSubstr("\xEF\xBF\xBD"));
}

TEST(Json, KernelFiguresReachTheirLaunch) {
  Made made = testing::make(testing::encoder(1), "model");
  made.snapshot.backend_texts.push_back(
      {"kernels", "%gelu: pointwise.gelu registers=34 local=0 predicted=2.50us bytes=65536\n"});
  const json j = json::parse(json_text(made.snapshot));
  const auto found =
      std::ranges::find_if(j["launches"], [](const json& l) { return l["node"] == "gelu"; });
  ASSERT_NE(found, j["launches"].end());
  EXPECT_EQ((*found)["kernel"]["registers"], 34);
  EXPECT_EQ((*found)["kernel"]["predicted_us"], 2.5);
}

TEST(Page, LoadsNothingAndEscapesEverything) {
  const std::string html = page(testing::hostile().snapshot);
  const std::size_t title = html.find("<title>");
  EXPECT_EQ(html.find("<title>&lt;/script&gt;&lt;img src=x"), title);
  EXPECT_THAT(html, Not(HasSubstr("<img src=x")));
  EXPECT_THAT(html, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(html, Not(HasSubstr("http-equiv=\"refresh")));
  EXPECT_THAT(html, Not(HasSubstr("<script src")));
  EXPECT_THAT(html, Not(HasSubstr("<link")));
  EXPECT_THAT(html, Not(HasSubstr("@import")));
  EXPECT_THAT(html, Not(HasSubstr("{{")));
}

TEST(Page, TwoThousandNodesStayBelowFiveMegabytes) {
  const Made made = testing::make(testing::encoder(60), "large");
  ASSERT_GE(made.graph->size(), 2000U);
  EXPECT_LE(page(made.snapshot).size(), 5U << 20);
}

/// A pipeline in which every pass rewrites every line must not make the page too large either.
TEST(Page, TextsAreLimited) {
  Made made = testing::make(testing::encoder(60), "large");
  for (int i = 0; i < 12; ++i) {
    std::string text = made.snapshot.stages.back().text;
    for (std::size_t at = 0; (at = text.find(" = ", at)) != std::string::npos; at += 4) {
      text.insert(at, std::string(1, static_cast<char>('a' + i)));
    }
    made.snapshot.stages.push_back({"rewrite", text});
  }
  EXPECT_LE(page(made.snapshot).size(), 5U << 20);
}

TEST(ModelExplorer, NodesEdgesAndModules) {
  const Made made = testing::make(testing::encoder(2), "model");
  const json j = json::parse(model_explorer_json(made.snapshot));
  ASSERT_EQ(j["graphs"].size(), 1U);
  std::set<std::string> ids;
  for (const auto& n : j["graphs"][0]["nodes"]) ids.insert(n["id"].get<std::string>());
  bool seen = false;
  for (const auto& n : j["graphs"][0]["nodes"]) {
    for (const auto& e : n["incomingEdges"]) EXPECT_TRUE(ids.contains(e["sourceNodeId"]));
    if (n["id"] != "gelu_1") continue;
    seen = true;
    EXPECT_EQ(n["namespace"], "encoder/layer.1/intermediate");
    EXPECT_EQ(n["label"], "aten.gelu.default");
    EXPECT_EQ(n["outputsMetadata"][0]["attrs"][0]["value"], "f32[1,32,256]");
  }
  EXPECT_TRUE(seen);
}

TEST(TraceEvents, AreCompleteEvents) {
  const json j = json::parse(
      trace_events_json("model", {"launches"},
                        {{"linear", "kernel", 1.5, 20, 0, {{"target", "aten.linear.default"}}}}));
  const auto& events = j["traceEvents"];
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[2]["ph"], "X");
  EXPECT_EQ(events[2]["ts"], 1.5);
  EXPECT_EQ(events[2]["dur"], 20);
  EXPECT_EQ(events[2]["args"]["target"], "aten.linear.default");
}

}  // namespace
}  // namespace monograph::dump
