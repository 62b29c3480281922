// Toolchain for architecture `virtual`: kernel sources through the host compiler and the emulator's
// headers, with the reference script beside this folder.
#include <fmt/format.h>
#include <monograph/error.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>

#include "kernels/compile/compiler.h"
#include "kernels/compile/digest.h"
#include "kernels/compile/source.h"
#include "kernels/registry.h"

namespace monograph::vgpu {
namespace {

namespace fs = std::filesystem;

/// A directory of its own that goes with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "monograph-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) {
      throw Error(Code::kInternal, "no temporary directory for a kernel image");
    }
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// `text` as one word of a POSIX shell.
std::string quoted(const std::string& text) {
  std::string s = "'";
  for (const char c : text) s += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return s + "'";
}

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

/// The kernels' own headers, parsed once for all images of this process: most of what compiling one
/// costs.
class Headers {
 public:
  /// Compiler options that use them; none before the third image, for which they'd not pay yet, and
  /// none for images that are compiled in other ways.
  std::string options() {
    if (is_set("VGPU_RACES") || is_set("VGPU_DEFINES")) return {};
    const std::lock_guard lock(mutex_);
    constexpr int kFew = 2;
    if (++images_ <= kFew) return {};
    if (!directory_) make();
    return works_ ? " -include " + quoted(path().string()) : std::string();
  }

 private:
  fs::path path() const { return directory_->path() / "kernels.h"; }
  void make() {
    directory_.emplace();
    std::string text;
    for (const std::string& name : kernels::embedded_names()) {
      if (name.ends_with(".cuh")) text += "#include \"" + name + "\"\n";
    }
    write(path(), text);
    const std::string command =
        fmt::format("sh {} {} {} > /dev/null 2>&1", quoted(VGPU_COMPILE_IMAGE),
                    quoted(path().string()), quoted(path().string() + ".gch"));
    works_ = std::system(command.c_str()) == 0;  // NOLINT(cert-env33-c): a test tool
  }

  std::mutex mutex_;
  int images_ = 0;
  bool works_ = false;
  std::optional<TemporaryDirectory> directory_;
};

kernels::Compiled compile(const kernels::Instance& instance, const std::string&) {
  static Headers headers;
  const auto start = std::chrono::steady_clock::now();
  const TemporaryDirectory directory;
  const kernels::SourceSet set = kernels::source_set(instance);
  const fs::path source = directory.path() / set.name;
  write(source, set.text);
  std::string command =
      fmt::format("sh {} {} {}", quoted(VGPU_COMPILE_IMAGE), quoted(source.string()),
                  quoted((directory.path() / "image.so").string()));
  for (const auto& [name, value] : instance.constants) {
    command += " " + quoted("-D" + name + "=" + value);
  }
  command += headers.options();
  // Mutants of kernels, for tests that see whether they are found out.
  if (const char* more = std::getenv("VGPU_DEFINES")) command += std::string(" ") + more;
  command += " > " + quoted((directory.path() / "log").string()) + " 2>&1";
  const int status = std::system(command.c_str());  // NOLINT(cert-env33-c): a test tool
  if (status != 0) {
    throw Error(Code::kInternal, fmt::format("kernel '{}' doesn't compile for the virtual GPU:\n{}",
                                             instance.kernel, read(directory.path() / "log")));
  }
  const std::string image = read(directory.path() / "image.so");
  kernels::Compiled out;
  out.entry = instance.entry;
  const auto* bytes = reinterpret_cast<const std::byte*>(image.data());
  out.image.assign(bytes, bytes + image.size());
  out.milliseconds =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return out;
}

/// Changes when anything does that an image is compiled with.
std::string version() {
  kernels::Digest digest;
  const fs::path folder = fs::path(VGPU_COMPILE_IMAGE).parent_path();
  for (const char* part : {"compile_image.sh", "simt.h", "image.h", "simt/cuda_names.h",
                           "simt/half.h", "simt/tensor.h", "include/mg_virtual.h"}) {
    digest.add(read(folder / part));
  }
  return digest.hex();
}

const kernels::ToolchainRegistration kRegistration([] {
  kernels::Toolchain t;
  t.name = "emulator";
  t.version = version();
  t.supports = [](std::string_view arch) { return arch == "virtual"; };
  t.compile = compile;
  return t;
});

}  // namespace
}  // namespace monograph::vgpu
