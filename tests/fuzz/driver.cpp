// Runs a fuzz target without libFuzzer: every seed as it is, then mutations drawn from a fixed
// seed.
//
// Usage: TARGET ITERATIONS SEEDS... where SEEDS are folders; one that isn't there has no seeds. The
// same arguments make the same inputs. Exits with 1 if an exception escapes, after writing the
// input to crash-TARGET in the working folder.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/target.h"

namespace {

using Input = std::vector<std::uint8_t>;

void read_seeds(const std::filesystem::path& folder, std::vector<Input>& seeds) {
  if (!std::filesystem::is_directory(folder)) return;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
}

/// Changes that broken and hostile files have: bits, numbers at their limits, text repeated or cut,
/// parts of another seed.
class Mutator {
 public:
  Mutator(const std::vector<Input>& seeds, std::uint64_t seed) : seeds_(seeds), random_(seed) {}

  Input next() {
    Input input = seeds_[below(seeds_.size())];
    const std::size_t changes = 1 + below(6);
    for (std::size_t i = 0; i < changes; ++i) change(input);
    return input;
  }

 private:
  std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }

  void change(Input& input) {
    if (input.empty()) input.push_back(0);
    const std::size_t at = below(input.size());
    switch (below(8)) {
      case 0:
        input[at] ^= static_cast<std::uint8_t>(1U << below(8));
        break;
      case 1:
        input[at] = static_cast<std::uint8_t>(random_());
        break;
      case 2:
        input.resize(at);
        break;
      case 3:
        put_number(input, at);
        break;
      case 4:
        input.erase(begin(input, at), begin(input, std::min(at + below(32), input.size())));
        break;
      case 5:
        repeat(input, at);
        break;
      case 6:
        splice(input, at);
        break;
      default:
        put_text(input, at);
        break;
    }
  }

  static Input::iterator begin(Input& input, std::size_t at) {
    return input.begin() + static_cast<std::ptrdiff_t>(at);
  }

  void put_number(Input& input, std::size_t at) {
    static constexpr std::uint64_t kLimits[] = {0,      1,          0x7f,       0xff,        0x7fff,
                                                0xffff, 0x7fffffff, 0xffffffff, ~0ULL >> 1U, ~0ULL};
    const std::uint64_t value = kLimits[below(std::size(kLimits))];
    const std::size_t width = std::size_t{1} << below(4);
    for (std::size_t i = 0; i < width && at + i < input.size(); ++i) {
      input[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
    }
  }

  void repeat(Input& input, std::size_t at) {
    const Input part(begin(input, at), begin(input, std::min(at + 1 + below(16), input.size())));
    const std::size_t times = 1 + below(64);
    for (std::size_t i = 0; i < times; ++i) {
      input.insert(begin(input, at), part.begin(), part.end());
    }
  }

  void splice(Input& input, std::size_t at) {
    const Input& other = seeds_[below(seeds_.size())];
    if (other.empty()) return;
    const std::size_t from = below(other.size());
    const std::size_t count = below(std::min<std::size_t>(other.size() - from, 256)) + 1;
    input.insert(begin(input, at), other.begin() + static_cast<std::ptrdiff_t>(from),
                 other.begin() + static_cast<std::ptrdiff_t>(std::min(from + count, other.size())));
  }

  void put_text(Input& input, std::size_t at) {
    static constexpr const char* kWords[] = {"-1",    "9223372036854775807",
                                             "1e309", "null",
                                             "[",     "{\"",
                                             "}",     "..",
                                             "%",     "(",
                                             "))",    "\\u0000",
                                             "as_int"};
    const std::string word = kWords[below(std::size(kWords))];
    input.insert(begin(input, at), word.begin(), word.end());
  }

  const std::vector<Input>& seeds_;
  std::mt19937_64 random_;
};

bool run(const Input& input, const char* target, std::size_t number) {
  try {
    LLVMFuzzerTestOneInput(input.data(), input.size());
    return true;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "input %zu: %s\n", number, error.what());
  }
  const std::string name = "crash-" + std::filesystem::path(target).filename().string();
  std::ofstream(name, std::ios::binary)
      .write(reinterpret_cast<const char*>(input.data()),
             static_cast<std::streamsize>(input.size()));
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "Usage: %s ITERATIONS SEEDS...\n", argv[0]);
    return 2;
  }
  const std::size_t iterations = std::strtoull(argv[1], nullptr, 10);
  std::vector<Input> seeds;
  for (int i = 2; i < argc; ++i) read_seeds(argv[i], seeds);
  if (seeds.empty()) {
    std::fprintf(stderr, "%s holds no seeds\n", argv[2]);
    return 2;
  }
  std::size_t number = 0;
  for (const Input& seed : seeds) {
    if (!run(seed, argv[0], number++)) return 1;
  }
  Mutator mutator(seeds, 1);
  for (std::size_t i = 0; i < iterations; ++i) {
    if (!run(mutator.next(), argv[0], number++)) return 1;
  }
  std::printf("%zu inputs from %zu seeds, no crash\n", number, seeds.size());
  return 0;
}
