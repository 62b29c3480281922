#include "tests/cuda/virtual_device.h"

#include <ATen/ATen.h>
#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace monograph::test {
namespace {

namespace fs = std::filesystem;

/// Links to thousands of kernels take seconds, so there is one for all tests of a process.
struct OwnCache {
  OwnCache() {
    std::string pattern = (fs::temp_directory_path() / "monograph-cache-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path = pattern;
    if (const char* old = std::getenv("MONOGRAPH_CACHE")) {
      std::error_code absent;
      for (const auto& file : fs::directory_iterator(old, absent)) {
        if (file.path().extension() != ".bin") continue;
        fs::create_symlink(fs::absolute(file.path()), fs::path(path) / file.path().filename());
      }
    }
    ::setenv("MONOGRAPH_CACHE", path.c_str(), 1);
  }
  ~OwnCache() { fs::remove_all(path); }
  OwnCache(const OwnCache&) = delete;
  OwnCache& operator=(const OwnCache&) = delete;
  std::string path;
};

double tolerance_of(at::ScalarType type) {
  switch (type) {
    case at::kHalf:
      return 2e-3;
    case at::kBFloat16:
      return 2e-2;
    case at::kDouble:
      return 1e-9;
    default:
      return 2e-5;
  }
}

}  // namespace

std::string driver_under_test() {
  const char* path = std::getenv("MONOGRAPH_TEST_DRIVER");
  return path != nullptr ? path : "";
}

void* find_control(const char* name) {
  if (driver_under_test().empty()) return nullptr;
  static void* const library = dlopen(driver_under_test().c_str(), RTLD_NOW);
  return library != nullptr ? dlsym(library, name) : nullptr;
}

void seed(std::uint64_t value) {
  if (auto* set = control<decltype(&vgpu_seed)>("vgpu_seed")) set(value);
}

std::string leaks() {
  std::array<char, 512> text{};
  if (auto* get = control<decltype(&vgpu_leaks)>("vgpu_leaks")) get(text.data(), text.size());
  return text.data();
}

void fail(const std::string& entry, std::uint64_t nth, CUresult code) {
  control<decltype(&vgpu_fail)>("vgpu_fail")(entry.empty() ? nullptr : entry.c_str(), nth, code);
}

std::uint64_t calls(const std::string& entry) {
  return control<decltype(&vgpu_calls)>("vgpu_calls")(entry.empty() ? nullptr : entry.c_str());
}

bool exhaustive() {
  const char* set = std::getenv("MONOGRAPH_TEST_EXHAUSTIVE");
  return set != nullptr && *set != '\0';
}

std::uint32_t test_seed() {
  const char* set = std::getenv("MONOGRAPH_TEST_SEED");
  return set != nullptr ? static_cast<std::uint32_t>(std::strtoul(set, nullptr, 10)) : 1;
}

Options cuda_options(GraphMode mode) {
  Options o;
  o.backend = "cuda";
  o.cuda_driver = driver_under_test();
  o.graph_mode = mode;
  return o;
}

const std::string& forget_times() {
  static const OwnCache cache;
  fs::remove_all(cache.path + "/tuning");
  return cache.path;
}

Options cuda_options(const Setting& setting) {
  Options o = cuda_options(setting.mode);
  if (setting.gate) o.backend_options["cuda.gate"] = "on";
  return o;
}

std::string name_of(const Setting& setting) {
  return setting.gate ? "gated" : setting.mode == GraphMode::kFull ? "graph" : "stream";
}

void load_client() {
  static const bool loaded = [] {
    const char* client = std::getenv("MONOGRAPH_TEST_CLIENT");
    if (client == nullptr) return true;
    if (dlopen(client, RTLD_NOW | RTLD_GLOBAL) != nullptr) return true;
    std::fprintf(stderr, "%s\n", dlerror());
    std::exit(2);
  }();
  (void)loaded;
}

void expect_close_on_device(const at::Tensor& got, const at::Tensor& want,
                            const std::string& what) {
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  ASSERT_EQ(got.scalar_type(), want.scalar_type()) << what;
  EXPECT_FALSE(got.isnan().any().item<bool>()) << what;
  if (!want.is_floating_point()) {
    EXPECT_TRUE(got.equal(want)) << what;
    return;
  }
  const double tolerance = tolerance_of(want.scalar_type());
  EXPECT_TRUE(at::allclose(got.to(at::kDouble), want.to(at::kDouble), tolerance, tolerance))
      << what << ": largest difference "
      << (got.to(at::kDouble) - want.to(at::kDouble)).abs().max().item<double>();
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous();
  const at::Tensor y = b.contiguous();
  return x.nbytes() == y.nbytes() &&
         (x.nbytes() == 0 || std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0);
}

std::vector<at::Tensor> fresh_like(const std::vector<at::Tensor>& inputs) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& t : inputs) {
    out.push_back(t.is_floating_point() ? at::randn_like(t) : at::randint_like(t, 0, 7));
  }
  return out;
}

void expect_same_in_all_orders(const Program& program,
                               const std::vector<std::vector<at::Tensor>>& inputs) {
  load_client();
  Options host;
  host.backend = "host";
  Executable reference = Executable::build(program, host);
  seed(0);
  Executable graph = Executable::build(program, cuda_options(GraphMode::kFull));
  Executable stream = Executable::build(program, cuda_options(GraphMode::kNone));
  for (const auto& in : inputs) {
    const auto want = reference.replay(in);
    std::vector<at::Tensor> first;
    const std::uint64_t last = exhaustive() ? 19 : 3;
    for (std::uint64_t order = 0; order <= last; ++order) {
      for (Executable* device : {&graph, &stream}) {
        const std::string what = std::string(device == &graph ? "graph" : "stream") + ", order " +
                                 std::to_string(order) + ", output ";
        seed(order);
        const auto got = device->replay(in);
        if (first.empty()) first = got;
        ASSERT_EQ(got.size(), want.size());
        for (std::size_t i = 0; i < got.size(); ++i) {
          expect_close_on_device(got[i], want[i], what + std::to_string(i));
          EXPECT_TRUE(same_bits(got[i], first[i])) << what << i << " differs from order 0";
        }
      }
    }
  }
  seed(0);
}

}  // namespace monograph::test
