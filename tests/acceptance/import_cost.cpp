// What importing an archive costs: time to a program and to an executable that can replay, and
// resident memory before the first replay. scripts/import_cost makes archives and runs this.
#include <ATen/Parallel.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <fmt/format.h>
#include <monograph/executable.h>
#include <monograph/program.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

namespace monograph {
namespace {

constexpr double kMega = 1 << 20;

/// Resident memory in MiB: of no file, and of mapped files.
struct Resident {
  double own = 0;
  double mapped = 0;

  static Resident now() {
    Resident resident;
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      constexpr double kKilo = 1024;
      if (line.starts_with("RssAnon:")) resident.own = std::stod(line.substr(8)) / kKilo;
      if (line.starts_with("RssFile:")) resident.mapped = std::stod(line.substr(8)) / kKilo;
    }
    return resident;
  }
};

struct Times {
  double wall_ms = 0;
  double cpu_ms = 0;

  static Times now() {
    timespec cpu{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    const auto wall = std::chrono::steady_clock::now().time_since_epoch();
    return {std::chrono::duration<double, std::milli>(wall).count(),
            1e3 * static_cast<double>(cpu.tv_sec) + 1e-6 * static_cast<double>(cpu.tv_nsec)};
  }
  Times since(const Times& start) const { return {wall_ms - start.wall_ms, cpu_ms - start.cpu_ms}; }
};

std::vector<at::Tensor> random_inputs(const std::string& path) {
  std::vector<at::Tensor> inputs;
  for (const TensorSpec& spec : Program::pt2_inputs(path)) {
    const bool real = at::isFloatingType(spec.dtype);
    inputs.push_back(real ? at::rand(spec.sizes).to(spec.dtype)
                          : at::randint(0, 2, spec.sizes).to(spec.dtype));
  }
  return inputs;
}

/// What one value was over several runs.
std::string spread(std::vector<double> values) {
  std::ranges::sort(values);
  return fmt::format("{:.0f} ms ({:.0f} to {:.0f})", values[values.size() / 2], values.front(),
                     values.back());
}

int run(const std::string& path, int times) {
  const auto inputs = random_inputs(path);
  std::vector<double> wall;
  std::vector<double> cpu;
  std::vector<double> built;
  for (int i = 0; i < times; ++i) {
    const Resident before = Resident::now();
    const Times start = Times::now();
    auto outcome = Program::import_pt2(path, inputs);
    const Times imported = Times::now().since(start);
    if (const auto* rejection = std::get_if<Rejection>(&outcome)) {
      std::cerr << rejection->to_string() << '\n';
      return 1;
    }
    const auto executable = Executable::build(std::get<Program>(outcome));
    const Times ready = Times::now().since(start);
    const Resident after = Resident::now();
    wall.push_back(imported.wall_ms);
    cpu.push_back(imported.cpu_ms);
    built.push_back(ready.cpu_ms);
    if (i > 0) continue;
    fmt::print("{}: {:.0f} MiB, {} nodes, {} launches\n",
               std::filesystem::path(path).filename().string(),
               static_cast<double>(std::filesystem::file_size(path)) / kMega,
               std::get<Program>(outcome).nodes_traced(), executable.report().launches);
    fmt::print("  first import: {:.0f} ms, {:.0f} ms of CPU; with build {:.0f} ms of CPU\n",
               imported.wall_ms, imported.cpu_ms, ready.cpu_ms);
    fmt::print(
        "  resident before the first replay: {:.0f} MiB more of its own, {:.0f} MiB more of "
        "mapped files\n",
        after.own - before.own, after.mapped - before.mapped);
  }
  fmt::print("  {} imports: {}, CPU {}; with build CPU {}\n", times, spread(wall), spread(cpu),
             spread(built));
  return 0;
}

}  // namespace
}  // namespace monograph

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::cerr << "Usage: monograph_import_cost ARCHIVE.pt2 [TIMES]\n";
    return 2;
  }
  at::set_num_threads(1);
  try {
    return monograph::run(argv[1], argc == 3 ? std::atoi(argv[2]) : 1);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
