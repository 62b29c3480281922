// Dumps of real executables: what is in the folder agrees with what runs.
#include "runtime/inspect/snapshot.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "capture/ir/text.h"
#include "runtime/dump/folder.h"
#include "tests/host/support.h"

namespace monograph::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  EXPECT_TRUE(in) << file;
  return {std::istreambuf_iterator<char>(in), {}};
}

Executable small_network() {
  const at::Tensor w = at::randn({6, 4});
  const Tensors inputs{at::randn({2, 4})};
  return build_host(trace_program(
      [w](const Tensors& in) -> Tensors {
        (void)at::relu(in[0]);  // for a pass to remove
        return {at::linear(in[0], w).tanh()};
      },
      inputs, {{"fc.weight", w, false}}));
}

TEST(SnapshotTest, FolderHoldsEveryStage) {
  const Executable executable = small_network();
  const fs::path folder =
      dump::claim_folder(fs::temp_directory_path(), "monograph_inspect_snapshot");
  const dump::Snapshot snapshot = inspect::snapshot_of(executable, "net", "f32_2x4");
  ASSERT_TRUE(inspect::write_dump(executable, snapshot, folder.string()));
  for (const char* file : {"transformed_code.py", "weights.safetensors", "00_trace.txt",
                           "01_dead_code.txt", "01_dead_code.diff", "launches.txt", "plan.txt",
                           "plan.dot", "dump.json", "index.html", "model_explorer.json"}) {
    EXPECT_TRUE(fs::exists(folder / file)) << file;
  }
  const json j = json::parse(read(folder / "dump.json"));
  EXPECT_EQ(j["backend"], "host");
  EXPECT_EQ(j["summary"]["launches"], executable.report().launches);
  EXPECT_EQ(j["summary"]["arena_bytes"], executable.report().arena_bytes);
  EXPECT_EQ(j["nodes"].size(), executable.program().graph().size());
  const auto linear =
      std::ranges::find_if(j["launches"], [](const json& l) { return l["node"] == "linear"; });
  ASSERT_NE(linear, j["launches"].end());
  EXPECT_NE((*linear)["reason"], "");
  // A second dump into the same folder is refused and leaves the first as it was.
  const std::string before = read(folder / "index.html");
  EXPECT_FALSE(inspect::write_dump(executable, snapshot, folder.string()));
  EXPECT_EQ(read(folder / "index.html"), before);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace monograph::test
