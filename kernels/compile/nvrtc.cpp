// Toolchain for real GPUs: NVRTC, opened at run time from torch's CUDA libraries.
#include <dlfcn.h>
#include <monograph/error.h>
#include <nvrtc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <regex>
#include <sstream>

#include "kernels/compile/compiler.h"
#include "kernels/compile/source.h"

namespace monograph::kernels {
namespace {

/// The entry points used, typed by the header's own declarations.
struct Nvrtc {
  decltype(&nvrtcVersion) version;
  decltype(&nvrtcCreateProgram) create;
  decltype(&nvrtcDestroyProgram) destroy;
  decltype(&nvrtcCompileProgram) compile;
  decltype(&nvrtcGetProgramLogSize) log_size;
  decltype(&nvrtcGetProgramLog) log;
  decltype(&nvrtcGetCUBINSize) cubin_size;
  decltype(&nvrtcGetCUBIN) cubin;
  decltype(&nvrtcGetErrorString) error_string;
};

template <class Fn>
void load(void* library, const char* name, Fn& fn) {
  fn = reinterpret_cast<Fn>(dlsym(library, name));
  if (fn == nullptr) {
    throw Error(Code::kDeviceUnavailable, std::string("NVRTC has no ") + name);
  }
}

// NVRTC opens its own data by name alone, which finds it only where the system's search path holds
// a toolkit. Opened by path beforehand, it is found by that name. A failure is left for NVRTC to
// report.
void open_builtins(const Nvrtc& api) {
  int major = 0;
  int minor = 0;
  Dl_info info{};
  if (api.version(&major, &minor) != NVRTC_SUCCESS) return;
  if (dladdr(reinterpret_cast<void*>(api.version), &info) == 0) return;
  const std::string folder = std::filesystem::path(info.dli_fname).parent_path().string();
  const std::string name =
      "libnvrtc-builtins.so." + std::to_string(major) + "." + std::to_string(minor);
  dlopen((folder + "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
}

const Nvrtc& nvrtc() {
  static const Nvrtc api = [] {
    // Never closed: the library keeps threads and caches of its own. The search path is this
    // library's run path, which names torch's CUDA folder.
    void* library = dlopen("libnvrtc.so.13", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      const char* why = dlerror();
      throw Error(Code::kDeviceUnavailable,
                  std::string("NVRTC can't be loaded: ") + (why != nullptr ? why : "unknown"));
    }
    Nvrtc n{};
    load(library, "nvrtcVersion", n.version);
    load(library, "nvrtcCreateProgram", n.create);
    load(library, "nvrtcDestroyProgram", n.destroy);
    load(library, "nvrtcCompileProgram", n.compile);
    load(library, "nvrtcGetProgramLogSize", n.log_size);
    load(library, "nvrtcGetProgramLog", n.log);
    load(library, "nvrtcGetCUBINSize", n.cubin_size);
    load(library, "nvrtcGetCUBIN", n.cubin);
    load(library, "nvrtcGetErrorString", n.error_string);
    open_builtins(n);
    return n;
  }();
  return api;
}

void check(nvrtcResult result, const std::string& what) {
  if (result == NVRTC_SUCCESS) return;
  throw Error(Code::kInternal, what + ": " + nvrtc().error_string(result));
}

std::string log_of(nvrtcProgram program) {
  std::size_t size = 0;
  if (nvrtc().log_size(program, &size) != NVRTC_SUCCESS || size <= 1) return {};
  std::string text(size, '\0');
  if (nvrtc().log(program, text.data()) != NVRTC_SUCCESS) return {};
  text.resize(size - 1);
  return text;
}

int number_before(const std::string& log, const char* pattern) {
  std::smatch m;
  return std::regex_search(log, m, std::regex(pattern)) ? std::stoi(m[1]) : -1;
}

Resources resources_of(const std::string& log, const Instance& instance) {
  Resources r;
  r.registers = number_before(log, R"(Used (\d+) registers)");
  r.local_bytes = number_before(log, R"((\d+) bytes stack frame)");
  r.spill_stores = number_before(log, R"((\d+) bytes spill stores)");
  r.spill_loads = number_before(log, R"((\d+) bytes spill loads)");
  r.static_shared_bytes = std::max(0, number_before(log, R"((\d+) bytes smem)"));
  const auto& b = instance.geometry.block;
  const double threads = static_cast<double>(b[0]) * b[1] * b[2];
  if (r.registers > 0 && threads > 0) {
    const double by_registers = 65536.0 / (((r.registers + 7) / 8 * 8) * threads);
    const double shared = r.static_shared_bytes + instance.geometry.dynamic_shared_bytes + 1024.0;
    r.blocks_per_multiprocessor =
        std::floor(std::min({by_registers, 233472.0 / shared, 2048.0 / threads, 32.0}));
  }
  return r;
}

std::vector<std::string> options_for(const Instance& instance, const std::string& arch) {
  std::vector<std::string> options{
      "--gpu-architecture=" + arch,   "--std=c++17", "-default-device", "--ptxas-options=-v",
      "--extra-device-vectorization", "-lineinfo"};
  for (const auto& [name, value] : instance.constants) {
    options.push_back("-D" + name + "=" + value);
  }
  return options;
}

/// The lines of `set` around the first one that `log` complains about, with their numbers.
std::string excerpt(const SourceSet& set, const std::string& log) {
  std::smatch m;
  if (!std::regex_search(log, m, std::regex(R"(([\w./]+)\((\d+)\): error)"))) return {};
  const std::string* text = m[1] == set.name ? &set.text : nullptr;
  for (const auto& [name, header] : set.headers) text = m[1] == name ? header : text;
  if (text == nullptr) return {};
  constexpr int kAround = 2;
  const int wanted = std::stoi(m[2]);
  std::istringstream in(*text);
  std::string out = m[1].str() + ":\n";
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    if (std::abs(++number - wanted) > kAround) continue;
    out += (number == wanted ? "> " : "  ") + std::to_string(number) + "  " + line + "\n";
  }
  return out;
}

Compiled compile(const Instance& instance, const std::string& arch) {
  const auto start = std::chrono::steady_clock::now();
  const SourceSet set = source_set(instance);
  std::vector<const char*> names;
  std::vector<const char*> texts;
  for (const auto& [name, text] : set.headers) {
    names.push_back(name.c_str());
    texts.push_back(text->c_str());
  }
  nvrtcProgram raw = nullptr;
  check(nvrtc().create(&raw, set.text.c_str(), set.name.c_str(), static_cast<int>(names.size()),
                       texts.data(), names.data()),
        "NVRTC refused '" + set.name + "'");
  const auto drop = [](nvrtcProgram p) { nvrtc().destroy(&p); };
  const std::unique_ptr<_nvrtcProgram, decltype(drop)> program(raw, drop);

  const std::vector<std::string> options = options_for(instance, arch);
  std::vector<const char*> raw_options;
  for (const std::string& o : options) raw_options.push_back(o.c_str());
  const nvrtcResult result =
      nvrtc().compile(raw, static_cast<int>(raw_options.size()), raw_options.data());
  const std::string log = log_of(raw);
  if (result != NVRTC_SUCCESS) {
    throw Error(Code::kInternal, "kernel '" + instance.kernel + "' doesn't compile for " + arch +
                                     " (" + nvrtc().error_string(result) + "):\n" + log +
                                     excerpt(set, log));
  }
  Compiled out;
  out.entry = instance.entry;
  out.resources = resources_of(log, instance);
  std::size_t size = 0;
  check(nvrtc().cubin_size(raw, &size), "NVRTC gave no machine code for '" + set.name + "'");
  out.image.resize(size);
  check(nvrtc().cubin(raw, reinterpret_cast<char*>(out.image.data())), "reading machine code");
  out.milliseconds =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return out;
}

Toolchain make() {
  int major = 0;
  int minor = 0;
  check(nvrtc().version(&major, &minor), "NVRTC version");
  Toolchain t;
  t.name = "nvrtc";
  t.version = std::to_string(major) + "." + std::to_string(minor);
  t.supports = [](std::string_view arch) { return arch.starts_with("sm_"); };
  t.compile = compile;
  return t;
}

const ToolchainRegistration kRegistration(make);

}  // namespace
}  // namespace monograph::kernels
