#include "bench/minilm/python_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <monograph/error.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

#include "bench/minilm/similarity.h"
#include "capture/import/safetensors_torch.h"

namespace monograph::bench {
namespace {

namespace fs = std::filesystem;

// Exit status of `command`, whose messages go to `log`; 127 if it can't be started.
int run(std::vector<std::string> command, const fs::path& log) {
  std::vector<char*> argv;
  argv.reserve(command.size() + 1);
  for (std::string& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ::posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), ::environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    throw Error(Code::kInvalidArgument,
                fmt::format("python: {} can't be started: {}", command.front(),
                            std::system_category().message(error)));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string tail_of(const fs::path& file) {
  constexpr std::size_t kMost = 2000;
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  std::string all = text.str();
  return all.size() > kMost ? "..." + all.substr(all.size() - kMost) : all;
}

}  // namespace

double python_difference(const fs::path& folder, const std::string& python,
                         const std::vector<TensorSpec>& specs,
                         const std::vector<at::Tensor>& inputs,
                         const std::vector<at::Tensor>& expected) {
  const fs::path inputs_file = fs::absolute(folder / "inputs.safetensors");
  const fs::path outputs_file = fs::absolute(folder / "python_outputs.safetensors");
  std::vector<importer::SafetensorsEntry> entries;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    entries.push_back(importer::entry_of(specs[i].name, inputs.at(i)));
  }
  importer::write_safetensors(inputs_file, entries);
  // What an earlier run left must not be taken for the result of this one.
  fs::remove(outputs_file);
  const int status = run({python, fs::absolute(folder / "transformed_code.py").string(), "--inputs",
                          inputs_file.string(), "--outputs", outputs_file.string()},
                         folder / "python.log");
  if (status != 0) {
    throw Error(Code::kInternal, fmt::format("transformed_code.py ended with status {}:\n{}",
                                             status, tail_of(folder / "python.log")));
  }
  const auto outputs = importer::SafetensorsFile::open(outputs_file);
  double largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto output = importer::read_tensor(outputs.at(fmt::format("out_{}", i)));
    largest = std::max(largest, largest_difference(output, expected[i]));
  }
  return largest;
}

}  // namespace monograph::bench
