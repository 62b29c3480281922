// Leaves out each barrier of every kernel source in turn: some sample of some kernel must then give
// another answer, or race. Only the virtual GPU can tell.
#include <gtest/gtest.h>
#include <monograph/error.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <regex>

#include "kernels/compile/source.h"
#include "kernels/registry.h"
#include "tests/kernels/device.h"

namespace kernels_test {
namespace {

namespace fs = std::filesystem;

struct Barrier {
  std::string file;
  int line = 0;
  bool older = false;  ///< of devices before compute capability 9.0, as which the emulator can pose
};

std::vector<Barrier> barriers() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(KERNEL_SOURCES)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  const std::regex barrier("^[^/]*__sync(threads|warp)\\s*\\(");
  const std::regex newer("^#if __CUDA_ARCH__ >= 900"), other("^#else"), end("^#endif");
  std::vector<Barrier> found;
  for (const fs::path& file : files) {
    std::ifstream in(file);
    std::string text;
    bool chosen = false, older = false;
    for (int line = 1; std::getline(in, text); ++line) {
      if (std::regex_search(text, newer)) chosen = true;
      if (std::regex_search(text, other)) older = chosen;
      if (std::regex_search(text, end)) chosen = older = false;
      if (std::regex_search(text, barrier)) {
        found.push_back({file.filename().string(), line, older});
      }
    }
  }
  return found;
}

/// A kernel with operands, and what it computes on them.
struct Subject {
  std::string kernel;
  Call call;
  Instance instance;
  std::vector<Values> inputs;
  std::string sources;  ///< names of the files that it is made of
  std::optional<std::vector<std::vector<std::byte>>> right, right_older;
};

/// Positions in tables must exist.
std::vector<Values> draw(const Call& call, std::mt19937_64& random) {
  std::vector<Values> inputs;
  for (const auto& d : call.inputs) {
    inputs.push_back(random_values(d, Fill::kNormal, random));
    if (d.dtype != monograph::kernels::DType::kI64) continue;
    for (Real& x : inputs.back().at) x = static_cast<Real>(random() % 10);
  }
  return inputs;
}

/// How `d` does `call` on `target`, unless it can't.
void add_subject(const monograph::kernels::Definition& d, const Call& call,
                 const monograph::kernels::Target& target, std::mt19937_64& random,
                 std::vector<Subject>& all) {
  const auto match = d.match(call, target);
  if (!match.instance) return;
  Subject s{d.name, call, *match.instance, draw(call, random), "", {}, {}};
  s.instance.kernel = d.name;
  for (const auto& [name, text] : monograph::kernels::source_set(s.instance).headers) {
    s.sources += name + "\n";
  }
  all.push_back(std::move(s));
}

std::vector<Subject> subjects() {
  std::vector<Subject> all;
  std::mt19937_64 random(7);
  monograph::kernels::Target small = test_target();
  small.multiprocessors = 2;  // where kernels divide work by that, blocks go round more often
  for (const auto& d : monograph::kernels::definitions()) {
    if (!d.samples) continue;
    for (const Call& call : d.samples()) {
      add_subject(d, call, test_target(), random, all);
      add_subject(d, call, small, random, all);
      const auto n = all.size();
      if (n > 1 && all[n - 1].kernel == all[n - 2].kernel &&
          all[n - 1].instance.text == all[n - 2].instance.text &&
          all[n - 1].instance.geometry.grid == all[n - 2].instance.geometry.grid) {
        all.pop_back();  // it doesn't
      }
    }
  }
  // Small problems first: most barriers show there, and the race check takes its time.
  std::ranges::stable_sort(all, {}, [](const Subject& s) {
    std::size_t elements = 0;
    for (const Values& v : s.inputs) elements += v.at.size();
    return elements;
  });
  return all;
}

/// The kernel's results under `seed`, compiled as `defines` says; nothing if the device faults.
std::optional<std::vector<std::vector<std::byte>>> results(const Subject& s,
                                                           const std::string& defines, bool races,
                                                           std::uint64_t seed) {
  static const monograph::kernels::Compiler uncached("none", 1);
  ::setenv("VGPU_DEFINES", defines.c_str(), 1);
  ::setenv("VGPU_RACES", races ? "1" : "", 1);
  std::optional<std::vector<std::vector<std::byte>>> out;
  try {
    Outcome o = run(s.instance, s.call, s.inputs, {.seed = seed, .compiler = &uncached});
    if (o.fault.empty()) out = std::move(o.bytes);
  } catch (const monograph::Error& e) {
    EXPECT_NE(e.code(), monograph::Code::kInternal) << e.what();
  }
  reset_device();
  ::unsetenv("VGPU_DEFINES");
  ::unsetenv("VGPU_RACES");
  return out;
}

/// What became of the mutant without barrier `b`.
struct Verdict {
  bool reached = false, found_out = false;
};
Verdict judge(const Barrier& b, std::vector<Subject>& all) {
  const std::string device = b.older ? "-D__CUDA_ARCH__=800 " : "";
  const std::string place = device + "-DVGPU_MUTATE_LINE=" + std::to_string(b.line) +
                            " '-DVGPU_MUTATE_FILE=\"" + b.file + "\"' -DVGPU_MUTATE_STOP=";
  std::vector<Subject*> chosen;  // those that may have the barrier, and can be judged
  for (Subject& s : all) {
    if (s.sources.find(b.file) == std::string::npos) continue;
    auto& right = b.older ? s.right_older : s.right;
    if (!right) right = results(s, device, true, 1);
    if (!right) continue;  // operands at random don't suit it
    if (results(s, place + "0", true, 1) != right) return {true, true};
    chosen.push_back(&s);
  }
  Verdict v;
  for (const Subject* s : chosen) {
    if (results(*s, place + "1", false, 0)) continue;
    v.reached = true;
    for (const std::uint64_t seed : {2, 3, 0}) {
      v.found_out = results(*s, place + "0", true, seed) != (b.older ? s->right_older : s->right);
      if (v.found_out) return v;
    }
  }
  return v;
}

TEST(KernelMutants, LeavingOutAnyBarrierShows) {
  const std::vector<Barrier> all = barriers();
  ASSERT_GE(all.size(), 10u);
  std::vector<Barrier> chosen;
  if (const char* which = std::getenv("MONOGRAPH_TEST_BARRIERS")) {  // "gemv.cuh:.*"
    std::ranges::copy_if(all, std::back_inserter(chosen),
                         [wanted = std::regex(which)](const auto& b) {
                           return std::regex_match(b.file + ":" + std::to_string(b.line), wanted);
                         });
  } else if (std::getenv("MONOGRAPH_TEST_EXHAUSTIVE") != nullptr) {
    chosen = all;
  } else {
    const char* seed = std::getenv("MONOGRAPH_TEST_SEED");
    std::mt19937 random(seed != nullptr ? std::strtoul(seed, nullptr, 10) : 1);
    std::ranges::sample(all, std::back_inserter(chosen), 1, random);
  }
  std::vector<Subject> kernels = subjects();
  std::size_t found_out = 0;
  for (const Barrier& b : chosen) {
    const std::string at = b.file + ":" + std::to_string(b.line);
    const Verdict v = judge(b, kernels);
    EXPECT_TRUE(v.reached) << "no sample of a kernel reaches the barrier at " << at;
    EXPECT_TRUE(v.found_out || !v.reached) << "the barrier at " << at << " isn't needed";
    std::printf("%s: %s\n", at.c_str(), v.found_out ? "found out" : "not found out");
    std::fflush(stdout);
    found_out += v.found_out ? 1 : 0;
  }
  std::printf("%zu of %zu left out, %zu of those found out\n", chosen.size(), all.size(),
              found_out);
}

}  // namespace
}  // namespace kernels_test
