// Peers in Python processes. The process prepares itself, then answers one line per request, so
// that its rounds can be interleaved with ours.
#include <ATen/Parallel.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <monograph/error.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "bench/harness/contender.h"
#include "capture/import/safetensors.h"
#include "capture/import/safetensors_torch.h"

namespace monograph::bench {
namespace {

namespace fs = std::filesystem;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// A child with its standard input and output as files; killed when this ends.
class Child {
 public:
  Child(std::vector<std::string> command, const fs::path& log) {
    std::array<int, 2> to{}, from{};
    if (::pipe2(to.data(), O_CLOEXEC) != 0 || ::pipe2(from.data(), O_CLOEXEC) != 0) {
      throw Error(Code::kInternal, "no pipe: " + std::system_category().message(errno));
    }
    std::vector<char*> argv;
    argv.reserve(command.size() + 1);
    for (std::string& argument : command) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log.c_str(),
                                       O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const int error = ::posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), ::environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(to[0]);
    ::close(from[1]);
    requests_.reset(::fdopen(to[1], "w"));
    answers_.reset(::fdopen(from[0], "r"));
    if (error != 0) {
      pid_ = -1;
      throw Error(Code::kInvalidOption, fmt::format("{} can't be started: {}", command.front(),
                                                    std::system_category().message(error)));
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    requests_.reset();  // the child ends when its input does
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
  }

  /// Lines that aren't ours (some libraries print) start with anything but '{'.
  nlohmann::json answer() {
    std::string line;
    for (int c = std::getc(answers_.get()); c != EOF; c = std::getc(answers_.get())) {
      if (c != '\n') {
        line += static_cast<char>(c);
        continue;
      }
      auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (json.is_object()) return json;
      line.clear();
    }
    throw Error(Code::kInternal, "the peer's process ended");
  }
  nlohmann::json ask(const std::string& request) {
    std::fputs((request + "\n").c_str(), requests_.get());
    std::fflush(requests_.get());
    return answer();
  }

 private:
  pid_t pid_ = -1;
  File requests_;
  File answers_;
};

class Peer final : public Contender {
 public:
  explicit Peer(PythonPeer peer) : peer_(std::move(peer)) {}
  std::string name() const override { return peer_.mode; }

  bool is_process() const override { return true; }
  void start() override {
    const std::string device = peer_.options.device.is_cuda() ? "cuda" : "cpu";
    try {
      child_ = std::make_unique<Child>(
          std::vector<std::string>{peer_.python, peer_.script, "--model", peer_.model, "--mode",
                                   peer_.mode, "--folder", peer_.folder, "--device", device,
                                   "--layers", std::to_string(peer_.options.layers), "--length",
                                   std::to_string(peer_.options.length), "--threads",
                                   std::to_string(at::get_num_threads())},
          log());
    } catch (const Error& error) {
      not_started_ = error.message();
    }
  }

  std::optional<std::string> prepare() override {
    if (child_ == nullptr) return not_started_;
    try {
      const auto ready = child_->answer();
      if (ready.contains("missing")) return ready.at("missing").get<std::string>();
      if (ready.contains("prepare_ms")) figures_["own_prepare_ms"] = ready.at("prepare_ms");
      return std::nullopt;
    } catch (const Error& error) {
      return fmt::format("{}; see {}", error.message(), log().string());
    }
  }

  std::map<std::string, double> figures() const override { return figures_; }

  std::vector<at::Tensor> outputs() override {
    const fs::path file = fs::path(peer_.folder) / (peer_.mode + "_outputs.safetensors");
    fs::remove(file);
    const auto said = child_->ask("outputs " + file.string());
    const auto outputs = importer::SafetensorsFile::open(file);
    std::vector<at::Tensor> tensors;
    for (int i = 0; i < said.at("outputs").get<int>(); ++i) {
      tensors.push_back(importer::read_tensor(outputs.at(fmt::format("out_{}", i))));
    }
    return tensors;
  }

  Round run(int calls) override {
    const auto said = child_->ask(fmt::format("run {}", calls));
    Round round{said.at("wall_us").get<double>(), std::nullopt, said.at("host_us").get<double>()};
    if (said.contains("device_us")) round.device = said.at("device_us").get<double>();
    return round;
  }

 private:
  fs::path log() const { return fs::path(peer_.folder) / (peer_.mode + ".log"); }

  PythonPeer peer_;
  std::string not_started_ = "its process was never started";
  std::map<std::string, double> figures_;
  std::unique_ptr<Child> child_;
};

}  // namespace

std::unique_ptr<Contender> make_python_peer(const PythonPeer& peer) {
  return std::make_unique<Peer>(peer);
}

void write_case(const ModelCase& model, const std::string& folder) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  std::vector<at::Tensor> kept;
  const auto entry = [&kept](const std::string& name, const at::Tensor& tensor) {
    kept.push_back(tensor.detach().cpu().contiguous());
    return importer::entry_of(name, kept.back());
  };
  std::vector<importer::SafetensorsEntry> weights, inputs;
  for (const NamedTensor& named : model.module.tensors) {
    weights.push_back(entry(named.name, named.tensor));
  }
  for (std::size_t i = 0; i < model.inputs.size(); ++i) {
    inputs.push_back(entry(fmt::format("in_{}", i), model.inputs[i]));
  }
  importer::write_safetensors(fs::path(folder) / "weights.safetensors", weights);
  importer::write_safetensors(fs::path(folder) / "inputs.safetensors", inputs);
}

}  // namespace monograph::bench
