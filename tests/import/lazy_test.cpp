// What importing a large archive costs: neither time nor memory for weights that nobody reads yet.
#include <ATen/ops/allclose.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rand.h>
#include <fmt/format.h>
#include <monograph/executable.h>
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "capture/import/mapped_file.h"
#include "capture/ir/types.h"
#include "capture/trace/mapped_weights.h"
#include "tests/import/pt2_support.h"
#include "tests/import/zip_writer.h"

namespace monograph {
namespace {

using nlohmann::json;
using testing::ZipWriter;

constexpr std::int64_t kWidth = 4096;
constexpr std::int64_t kLayers = 64;  // 64 layers of 32 MiB in half precision: 2 GiB

json tensor_meta(std::vector<std::int64_t> sizes) {
  constexpr int kHalf = 6;
  constexpr int kStrided = 7;
  json list = json::array();
  json strides = json::array();
  for (const std::int64_t size : sizes) list.push_back({{"as_int", size}});
  for (const std::int64_t stride : ir::contiguous_strides(sizes)) {
    strides.push_back({{"as_int", stride}});
  }
  return {{"dtype", kHalf},
          {"sizes", list},
          {"strides", strides},
          {"storage_offset", {{"as_int", 0}}},
          {"requires_grad", false},
          {"layout", kStrided},
          {"device", {{"type", "cpu"}, {"index", nullptr}}}};
}

json named_tensor(const std::string& name) {
  return {{"as_tensor", {{"name", name}}}};
}

/// x -> linear -> ... -> linear, each with a weight of its own.
json chain_model() {
  json graph = {{"inputs", json::array()},
                {"nodes", json::array()},
                {"outputs", json::array({named_tensor(fmt::format("y{}", kLayers - 1))})},
                {"tensor_values", {{"x", tensor_meta({1, kWidth})}}},
                {"sym_int_values", json::object()}};
  json specs = json::array();
  std::string last = "x";
  for (std::int64_t i = 0; i < kLayers; ++i) {
    const std::string weight = fmt::format("w{}", i);
    graph["inputs"].push_back(named_tensor(weight));
    graph["tensor_values"][weight] = tensor_meta({kWidth, kWidth});
    specs.push_back({{"parameter", {{"arg", {{"name", weight}}}, {"parameter_name", weight}}}});
    const std::string out = fmt::format("y{}", i);
    graph["nodes"].push_back({{"target", "torch.ops.aten.linear.default"},
                              {"name", out},
                              {"inputs",
                               {{{"name", "input"}, {"arg", named_tensor(last)}},
                                {{"name", "weight"}, {"arg", named_tensor(weight)}}}},
                              {"outputs", json::array({named_tensor(out)})}});
    last = out;
  }
  graph["inputs"].push_back(named_tensor("x"));
  specs.push_back({{"user_input", {{"arg", named_tensor("x")}}}});
  const json outputs = json::array({{{"user_output", {{"arg", named_tensor(last)}}}}});
  return {{"graph_module",
           {{"graph", graph},
            {"signature", {{"input_specs", specs}, {"output_specs", outputs}}},
            {"module_call_graph", json::array()}}},
          {"schema_version", {{"major", 8}, {"minor", 17}}},
          {"range_constraints", json::object()}};
}

/// An archive of 2 GiB whose weights are holes in the file, so that it takes no room.
class LargeArchive {
 public:
  LargeArchive() : path_(fmt::format("{}/lazy_{}.pt2", ::testing::TempDir(), ::getpid())) {
    ZipWriter zip;
    zip.add("m/archive_format", "pt2");
    zip.add("m/archive_version", "0");
    zip.add("m/byteorder", "little");
    zip.add("m/models/model.json", chain_model().dump());
    json config = json::object();
    constexpr std::uint32_t kBytes = kWidth * kWidth * 2;
    for (std::int64_t i = 0; i < kLayers; ++i) {
      config[fmt::format("w{}", i)] = {{"path_name", fmt::format("weight_{}", i)},
                                       {"is_param", true},
                                       {"use_pickle", false},
                                       {"tensor_meta", tensor_meta({kWidth, kWidth})}};
      zip.add_hole(fmt::format("m/data/weights/weight_{}", i), kBytes);
    }
    zip.add("m/data/weights/model_weights_config.json", json{{"config", config}}.dump());
    zip.finish(path_);
  }
  ~LargeArchive() { ::unlink(path_.c_str()); }
  LargeArchive(const LargeArchive&) = delete;
  LargeArchive& operator=(const LargeArchive&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Resident memory in bytes: that of no file, and that of mapped files.
struct Resident {
  std::int64_t own = 0;
  std::int64_t mapped = 0;

  static Resident now() {
    Resident resident;
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      constexpr std::int64_t kKilo = 1024;
      if (line.starts_with("RssAnon:")) resident.own = kKilo * std::stoll(line.substr(8));
      if (line.starts_with("RssFile:")) resident.mapped = kKilo * std::stoll(line.substr(8));
    }
    return resident;
  }
};

double seconds_of_this_process() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

TEST(LazyImport, LeavesTwoGigabytesOfWeightsAlone) {
  const LargeArchive archive;
  const std::vector<at::Tensor> inputs{at::rand({1, kWidth}).to(at::kHalf)};
  const Resident before = Resident::now();
  const double started = seconds_of_this_process();
  auto outcome = Program::import_pt2(archive.path(), inputs);
  auto executable = Executable::build(std::get<Program>(outcome));
  const double seconds = seconds_of_this_process() - started;
  const Resident after = Resident::now();
  constexpr std::int64_t kMega = std::int64_t{1} << 20;
  const std::int64_t own = (after.own - before.own) / kMega;
  const std::int64_t mapped = (after.mapped - before.mapped) / kMega;
  RecordProperty("cpu_ms", static_cast<int>(seconds * 1000));
  RecordProperty("own_mib", static_cast<int>(own));
  RecordProperty("mapped_mib", static_cast<int>(mapped));
  std::printf("2 GiB: %.0f ms of CPU, %ld MiB of its own, %ld MiB of mapped files\n",
              seconds * 1000, static_cast<long>(own), static_cast<long>(mapped));
  EXPECT_LE(own, 200);
  EXPECT_LE(mapped, 200) << "the weights were read";
  EXPECT_LE(seconds, 2.0);
  EXPECT_EQ(executable.report().launches, static_cast<std::size_t>(kLayers));
}

/// The import computed nothing with large weights; a replay does.
TEST(LazyImport, ReplaysWithTheWeights) {
  const auto known = importer::SafetensorsFile::open(testing::data_file("wide.safetensors"));
  const auto inputs = testing::tensors_of(known, "in_");
  auto outcome = Program::import_pt2(testing::data_file("wide.pt2"), inputs);
  auto executable = Executable::build(std::get<Program>(outcome));
  const auto wanted = testing::tensors_of(known, "out_");
  const auto got = executable.replay(inputs);
  ASSERT_EQ(got.size(), wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].strides(), wanted[i].strides());
    EXPECT_TRUE(at::allclose(got[i], wanted[i], 1e-5, 1e-5)) << "output " << i;
  }
}

/// A weight in a mapped file, and a forward that is given its memory.
class WeightInAFile {
 public:
  explicit WeightInAFile(std::function<void(float*)> host_code) {
    const std::string path = fmt::format("{}/weight_{}", ::testing::TempDir(), ::getpid());
    std::vector<float> values(kWeights, 1.5F);
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(values.data()), kWeights * sizeof(float));
    file_ =
        std::make_unique<importer::MappedFile>(path, 1, importer::MappedFile::Access::kCopyOnWrite);
    ::unlink(path.c_str());
    auto* data = const_cast<std::byte*>(file_->bytes().data());  // NOLINT(*-const-cast)
    const at::Tensor weight = at::from_blob(data, {512, 512}, at::kFloat);
    module_.tensors.push_back({"weight", weight, false});
    module_.forward = [weight, host_code](const std::vector<at::Tensor>& inputs) {
      host_code(weight.data_ptr<float>());
      return std::vector<at::Tensor>{at::linear(inputs[0], weight)};
    };
  }

  std::variant<Program, Rejection> trace() const {
    Options options;
    options.check_twice = false;
    const trace::MappedWeights mapped(*file_);
    return Program::trace(module_, {at::rand({2, 512})}, options);
  }

 private:
  static constexpr std::size_t kWeights = 512 * 512;
  std::unique_ptr<importer::MappedFile> file_;
  Module module_;
};

/// Writes to weights that weren't read before are found all the same.
TEST(LazyImport, FindsWritesThatNoOperatorShows) {
  const WeightInAFile writes([](float* data) { data[70000] = 2; });
  const auto outcome = writes.trace();
  ASSERT_TRUE(std::holds_alternative<Rejection>(outcome));
  EXPECT_EQ(std::get<Rejection>(outcome).code, Code::kRejectedMutation);
  EXPECT_EQ(std::get<Rejection>(outcome).subject, "weight");
}

TEST(LazyImport, AcceptsWhatLeavesWeightsAsTheyAre) {
  const WeightInAFile same([](float* data) { data[70000] = 1.5F; });
  EXPECT_TRUE(std::holds_alternative<Program>(same.trace()));
}

}  // namespace
}  // namespace monograph
