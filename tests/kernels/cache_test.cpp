// The kernel compiler's disk cache, and what its errors say. No device: a toolchain of the test's
// own stands in, and NVRTC compiles what must fail.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernels/compile/compiler.h"

namespace kernels_test {
namespace {

namespace fs = std::filesystem;
using namespace monograph;
using kernels::Compiled;
using kernels::Compiler;
using kernels::Instance;
using testing::HasSubstr;

std::atomic<int> compilations{0};

/// The image is the source's text.
const kernels::ToolchainRegistration kToolchain([] {
  kernels::Toolchain t;
  t.name = "copier";
  t.version = "1";
  t.supports = [](std::string_view arch) { return arch == "paper"; };
  t.compile = [](const Instance& i, const std::string&) {
    ++compilations;
    Compiled c;
    c.entry = i.entry;
    const auto* bytes = reinterpret_cast<const std::byte*>(i.text.data());
    c.image.assign(bytes, bytes + i.text.size());
    return c;
  };
  return t;
});

Instance instance(const std::string& text) {
  Instance i;
  i.kernel = "test";
  i.source = "test.cu";
  i.text = text;
  i.entry = "entry";
  return i;
}

// Read once, before anything is logged.
const int kLogWarnings = ::setenv("MONOGRAPH_LOG", "warning", 1);

/// What goes to stderr meanwhile, through a pipe: a file would count against limits on files.
class Warnings {
 public:
  Warnings() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_NONBLOCK) != 0) return;
    read_ = ends[0];
    stderr_ = ::dup(STDERR_FILENO);
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[1]);
  }
  ~Warnings() {
    ::dup2(stderr_, STDERR_FILENO);
    ::close(stderr_);
    ::close(read_);
  }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;

  /// Lines since the last call.
  std::vector<std::string> lines() {
    std::string text;
    std::array<char, 4096> part{};
    for (ssize_t n = 0; (n = ::read(read_, part.data(), part.size())) > 0;) {
      text.append(part.data(), static_cast<std::size_t>(n));
    }
    std::vector<std::string> out;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
  }

 private:
  int read_ = -1;
  int stderr_ = -1;
};

class Cache : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(kLogWarnings, 0);
    std::string pattern = (fs::temp_directory_path() / "monograph-cache-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    compilations = 0;
  }
  void TearDown() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

  std::vector<fs::path> entries() const {
    std::vector<fs::path> found;
    for (const auto& e : fs::directory_iterator(folder_)) {
      if (e.path().extension() == ".bin") found.push_back(e.path());
    }
    return found;
  }

  fs::path folder_;
  Warnings warnings_;
};

TEST_F(Cache, KeepsWhatItCompiled) {
  const Compiler compiler(folder_.string());
  const Compiled first = compiler.compile(instance("a"), "paper");
  const Compiled second = Compiler(folder_.string()).compile(instance("a"), "paper");
  EXPECT_EQ(compilations, 1);
  EXPECT_FALSE(first.from_cache);
  EXPECT_TRUE(second.from_cache);
  EXPECT_EQ(second.image, first.image);
  EXPECT_EQ(second.entry, "entry");
  (void)compiler.compile(instance("b"), "paper");
  Instance other = instance("a");
  other.constants = {{"N", "3"}};
  (void)compiler.compile(other, "paper");
  EXPECT_EQ(compilations, 3);
  EXPECT_TRUE(warnings_.lines().empty());
}

TEST_F(Cache, RebuildsAnEntryThatIsCorrupt) {
  const Compiler compiler(folder_.string());
  (void)compiler.compile(instance("abcdef"), "paper");
  const std::vector<fs::path> before = entries();
  ASSERT_EQ(before.size(), 1u);
  const auto size = fs::file_size(before[0]);
  {  // one bit of the image, then the file cut short, then nothing but rubbish
    std::fstream file(before[0], std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(size) - 1);
    file.put('g');
  }
  EXPECT_FALSE(compiler.compile(instance("abcdef"), "paper").from_cache);
  fs::resize_file(before[0], size - 3);
  EXPECT_FALSE(compiler.compile(instance("abcdef"), "paper").from_cache);
  std::ofstream(before[0], std::ios::trunc) << "rubbish";
  EXPECT_FALSE(compiler.compile(instance("abcdef"), "paper").from_cache);
  EXPECT_EQ(compilations, 4);
  const auto warnings = warnings_.lines();
  ASSERT_EQ(warnings.size(), 3u);
  EXPECT_THAT(warnings[0], HasSubstr("is corrupt and will be rebuilt"));
  EXPECT_TRUE(compiler.compile(instance("abcdef"), "paper").from_cache);
}

TEST_F(Cache, WorksWithoutADirectoryThatCantBeMade) {
  // A file is in the way, which stops every user, even one whom permissions don't.
  const fs::path file = folder_ / "file";
  std::ofstream(file) << "x";
  const std::string inside = (file / "cache").string();
  for (int i = 0; i < 2; ++i) {
    const Compiler compiler(inside);
    EXPECT_EQ(compiler.directory(), "");
    EXPECT_EQ(compiler.compile(instance("a"), "paper").image.size(), 1u);
  }
  EXPECT_EQ(compilations, 2);
  const auto warnings = warnings_.lines();
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("is not used"));
}

TEST_F(Cache, WorksWhileTheDiskIsFull) {
  const Compiler compiler(folder_.string());
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit none{1, old.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  const Compiled a = compiler.compile(instance("a"), "paper");
  const Compiled b = compiler.compile(instance("b"), "paper");
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(a.image.size(), 1u);
  EXPECT_EQ(b.image.size(), 1u);
  EXPECT_EQ(warnings_.lines().size(), 1u);
  EXPECT_TRUE(entries().empty());
  EXPECT_FALSE(compiler.compile(instance("a"), "paper").from_cache);
  EXPECT_EQ(entries().size(), 1u);
}

TEST(CompileErrors, ShowTheLineOfOurSourceAndTheNode) {
  const Instance good = instance("extern \"C\" __global__ void entry(float* p) { p[0] = 1; }\n");
  const Instance bad = instance(
      "#include \"mg/device.cuh\"\n"
      "extern \"C\" __global__ void entry(float* p) {\n"
      "  p[0] = missing(3);\n"
      "}\n");
  try {
    (void)Compiler("none", 2).compile({&good, &bad}, "sm_90", {"first", "second"});
    FAIL() << "it compiles";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInternal);
    EXPECT_EQ(e.node(), "second");
    EXPECT_THAT(e.message(), HasSubstr("test.cu(3): error"));
    EXPECT_THAT(e.message(), HasSubstr("> 3    p[0] = missing(3);"));
  }
}

TEST(CompileErrors, NameTheArchitecturesThatThereAre) {
  try {
    (void)Compiler("none").compile(instance("x"), "sparc");
    FAIL() << "it compiles";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kDeviceUnavailable);
    EXPECT_THAT(e.message(), HasSubstr("no compiler for architecture 'sparc'"));
    EXPECT_THAT(e.message(), HasSubstr("copier"));
  }
}

}  // namespace
}  // namespace kernels_test
