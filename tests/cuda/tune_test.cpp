// Choosing among kernels by timing them: what is remembered, what is timed and on which memory.
// Runs on the virtual GPU with a stopwatch that says what the test wants to hear.
#include <gmock/gmock.h>
#include <monograph/error.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "runtime/cuda/tune/tuner.h"
#include "tests/cuda/folder.h"
#include "tests/cuda/works.h"

namespace monograph::cuda::test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

const TuningEntry kEntry{{{"split 4", 3.25}, {"split 1, tile 64x128", 4}}};

TEST(TuningCache, KeepsEntriesOnDiskByTheirWholeKey) {
  const Folder folder;
  TuningCache(folder.path).store("problem A", kEntry);
  TuningCache other(folder.path);
  EXPECT_EQ(other.find("problem A"), kEntry);
  EXPECT_EQ(other.find("problem B"), std::nullopt);
  // A file under the name of another key says what it is for.
  fs::copy_file(other.path_of("problem A"), other.path_of("problem B"));
  EXPECT_EQ(other.find("problem B"), std::nullopt);
  EXPECT_EQ(other.find("problem A")->winner(), "split 4");
}

TEST(TuningCache, SeesWhatOthersStoreLater) {
  const Folder folder;
  TuningCache first(folder.path), second(folder.path);
  EXPECT_EQ(first.find("k"), std::nullopt);
  second.store("k", kEntry);
  EXPECT_EQ(first.find("k"), kEntry);
}

TEST(TuningCache, KeepsToMemoryWithoutAFolder) {
  TuningCache cache("none");
  EXPECT_EQ(cache.folder(), "");
  cache.store("k", kEntry);
  EXPECT_EQ(cache.find("k"), kEntry);
  EXPECT_EQ(TuningCache("none").find("k"), std::nullopt);
}

TEST(TuningCache, TakesNoFileOfWhichAByteChanged) {
  const Folder folder;
  TuningCache writer(folder.path);
  writer.store("k", kEntry);
  const std::string path = writer.path_of("k");
  const std::string good = read(path);
  ASSERT_EQ(good, text("k", kEntry));
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    write(path, bad);
    EXPECT_EQ(TuningCache(folder.path).find("k"), std::nullopt) << "byte " << i;
    EXPECT_FALSE(fs::exists(path)) << "byte " << i;
  }
  for (std::size_t n = 0; n < good.size(); ++n) {
    EXPECT_EQ(parse_entry(good.substr(0, n), "k"), std::nullopt) << n << " bytes";
  }
  write(path, good);
  EXPECT_EQ(TuningCache(folder.path).find("k"), kEntry);
}

TEST(TuningCache, IsWrittenByManyAtOnce) {
  const Folder folder;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&folder] {
      TuningCache cache(folder.path);
      for (int i = 0; i < 40; ++i) cache.store("k" + std::to_string(i % 5), kEntry);
    });
  }
  for (std::thread& t : threads) t.join();
  TuningCache cache(folder.path);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(cache.find("k" + std::to_string(i)), kEntry);
  for (const auto& file : fs::directory_iterator(cache.folder())) {
    EXPECT_NE(file.path().extension(), ".tmp");
  }
}

/// Before the first message, which settles it.
[[maybe_unused]] const bool kWarnings = ::setenv("MONOGRAPH_LOG", "warning", 1) == 0;

/// What `action` prints, in a process of its own that is nobody.
std::string said_by_nobody(const std::function<bool()>& action) {
  int ends[2];
  if (::pipe(ends) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    const bool dropped = ::geteuid() != 0 || ::setuid(65534) == 0;
    ::_exit(dropped && action() ? 0 : 1);
  }
  ::close(ends[1]);
  std::string said;
  char buffer[512];
  for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) said.append(buffer, n);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << said;
  return said;
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++n;
  return n;
}

TEST(TuningCache, WarnsOnceAboutAFolderThatIsReadOnlyAndReadsIt) {
  const Folder folder;
  TuningCache writer(folder.path);
  writer.store("k", kEntry);
  ::chmod(writer.path_of("k").c_str(), 0644);  // whatever the umask was
  ::chmod(writer.folder().c_str(), 0555);
  const std::string said = said_by_nobody([&] {
    TuningCache cache(folder.path);
    cache.store("new", kEntry);
    TuningCache again(folder.path);
    again.store("newer", kEntry);
    return cache.find("k") == kEntry && cache.find("new") == kEntry;
  });
  EXPECT_EQ(count(said, "is not written"), 1u) << said;
  EXPECT_EQ(TuningCache(folder.path).find("new"), std::nullopt);
}

TEST(TuningCache, WorksWhereNoFolderCanBeMade) {
  const Folder folder;
  write(folder.path + "/file", "");
  TuningCache cache(folder.path + "/file");
  EXPECT_EQ(cache.folder(), "");
  cache.store("k", kEntry);
  EXPECT_EQ(cache.find("k"), kEntry);
}

class Tuning : public PlanTest {
 protected:
  /// out = a * k + b over three operands, timed by name.
  Alternative alternative(const std::string& name, float k) {
    return {name, [this, name, k](std::span<const CUdeviceptr> at) {
              seen[name].push_back({at.begin(), at.end()});
              return work(name, Address::fixed(at[0]), Address::fixed(at[1]), Address::fixed(at[2]),
                          k);
            }};
  }
  Alternative broken(const std::string& name) {
    return {name, [](std::span<const CUdeviceptr>) -> Work {
              throw Error(Code::kInternal, "no such kernel");
            }};
  }
  TuningProblem problem() {
    return {"axpb 64",
            "test 1",
            operands,
            {alternative("first", 1), alternative("second", 2), alternative("third", 3)}};
  }
  Tuner::Settings settings(const std::string& folder) {
    Tuner::Settings s;
    s.directory = folder;
    s.limits.rounds = 5;
    s.limits.most_bytes = 8 * kBytes;
    s.stopwatch = [this](const std::string& name, PlanRunner& graph, const Ports& ports,
                         CUstream on) {
      graph.launch(ports, on);
      driver().StreamSynchronize(on);
      timed.push_back(name);
      const double nodes = static_cast<double>(graph.report().kernel_nodes);
      return nodes * (times.at(name) + 0.01 * static_cast<double>(timed.size() % 3));
    };
    return s;
  }
  const Driver& driver() const { return context->driver(); }

  std::vector<Operand> operands{{kBytes, Operand::Role::kCold},
                                {kBytes, Operand::Role::kWarm},
                                {kBytes, Operand::Role::kWarm}};
  std::map<std::string, double> times{{"first", 5}, {"second", 3}, {"third", 9}};
  std::vector<std::string> timed;
  std::map<std::string, std::vector<std::vector<CUdeviceptr>>> seen;
};

TEST_F(Tuning, TakesTheFastestAndRemembersIt) {
  const Folder folder;
  {
    Tuner tuner(context, settings(folder.path));
    const TuningChoice choice = tuner.choose(problem());
    EXPECT_EQ(choice.index, 1u);
    EXPECT_NEAR(choice.microseconds, 3, 0.03);
    EXPECT_FALSE(choice.from_cache);
    EXPECT_THAT(choice.reason, HasSubstr("3 of 3 timed"));
  }
  // The third was three times as slow in the first round and isn't timed again.
  EXPECT_EQ(std::ranges::count(timed, "third"), 1);
  EXPECT_EQ(std::ranges::count(timed, "second"), 5);
  timed.clear();
  seen.clear();
  times = {{"first", 1}, {"second", 3}, {"third", 9}};
  Tuner tuner(context, settings(folder.path));
  const TuningChoice choice = tuner.choose(problem());
  EXPECT_EQ(choice.index, 1u);
  EXPECT_TRUE(choice.from_cache);
  EXPECT_TRUE(timed.empty());
  EXPECT_TRUE(seen.empty()) << "work was made although nothing was to be timed";
}

TEST_F(Tuning, TimesAnewForAnotherProblemAnotherMakerAndANewWinner) {
  const Folder folder;
  Tuner tuner(context, settings(folder.path));
  TuningProblem p = problem();
  EXPECT_FALSE(tuner.choose(p).from_cache);
  EXPECT_TRUE(tuner.choose(p).from_cache);
  p.key = "axpb 65";
  EXPECT_FALSE(tuner.choose(p).from_cache);
  p.maker = "test 2";
  EXPECT_FALSE(tuner.choose(p).from_cache);
  EXPECT_TRUE(tuner.choose(p).from_cache);
  p.alternatives.erase(p.alternatives.begin() + 1);  // the winner is no longer offered
  const TuningChoice choice = tuner.choose(p);
  EXPECT_FALSE(choice.from_cache);
  EXPECT_EQ(choice.index, 0u);
  const std::string key = tuner.full_key(p);
  EXPECT_THAT(key, HasSubstr(context->info().name));
  EXPECT_THAT(key, HasSubstr("driver " + std::to_string(context->driver().version())));
}

TEST_F(Tuning, LeavesOutWhatFails) {
  TuningProblem p = problem();
  p.alternatives.insert(p.alternatives.begin(), broken("broken"));
  Tuner tuner(context, settings("none"));
  EXPECT_EQ(tuner.choose(p).index, 2u);
  p.alternatives = {broken("broken"), broken("worse")};
  const TuningChoice choice = tuner.choose(p);
  EXPECT_EQ(choice.index, 0u);
  EXPECT_EQ(choice.microseconds, 0);
  EXPECT_THAT(choice.reason, HasSubstr("none could be"));
}

TEST_F(Tuning, TimesNothingWhenOffOrWithoutAChoice) {
  Tuner::Settings off = settings("none");
  off.on = false;
  Tuner silent(context, off);
  EXPECT_EQ(silent.choose(problem()).index, 0u);
  TuningProblem one = problem();
  one.alternatives.resize(1);
  Tuner tuner(context, settings("none"));
  EXPECT_EQ(tuner.choose(one).index, 0u);
  EXPECT_TRUE(timed.empty());
  EXPECT_TRUE(seen.empty());
}

TEST_F(Tuning, GivesEachLaunchColdMemoryOfItsOwn) {
  TimingLimits limits;
  limits.most_bytes = 8 * kBytes;
  limits.rounds = 1;
  const auto watch = settings("none").stopwatch;
  operands.push_back({kBytes, Operand::Role::kState});
  std::vector<float> state(kLength, 1);
  Alternative a = alternative("first", 1);
  std::size_t nodes = 0;
  (void)time_alternatives(
      context, operands, {a},
      [&](const std::string& name, PlanRunner& graph, const Ports& ports, CUstream on) {
        nodes = graph.report().kernel_nodes;
        state = download<float>(seen["first"][0][3], kLength);
        const auto b = download<float>(seen["first"][0][1], kLength);
        for (const float v : b) EXPECT_TRUE(std::isnormal(v)) << v;
        return watch(name, graph, ports, on);
      },
      limits);
  EXPECT_EQ(state, std::vector<float>(kLength, 0));
  const auto& launches = seen["first"];
  ASSERT_EQ(launches.size(), nodes);
  ASSERT_GE(nodes, limits.least_nodes);
  std::set<CUdeviceptr> cold;
  for (const auto& at : launches) {
    cold.insert(at[0]);
    EXPECT_EQ(at[1], launches[0][1]);
    EXPECT_EQ(at[2], launches[0][2]);
    EXPECT_EQ(at[3], launches[0][3]);
  }
  EXPECT_EQ(cold.size(), 8u);
  EXPECT_NE(launches[0][0], launches[1][0]);
}

TEST_F(Tuning, TakesTheFirstWhereThereIsNoMemoryToTime) {
  Tuner tuner(context, settings("none"));
  vgpu_test::controls().fail("cuMemAlloc", 1, CUDA_ERROR_OUT_OF_MEMORY);
  const TuningChoice choice = tuner.choose(problem());
  EXPECT_EQ(choice.index, 0u);
  EXPECT_THAT(choice.reason, HasSubstr("no memory"));
  EXPECT_EQ(tuner.choose(problem()).index, 1u);  // later there is
}

TEST_F(Tuning, MeasuresByEventsUnlessTold) {
  Tuner::Settings s = settings("none");
  s.stopwatch = {};
  Tuner tuner(context, s);
  const TuningChoice choice = tuner.choose(problem());
  EXPECT_LT(choice.index, 3u);
  EXPECT_GT(choice.microseconds, 0);
}

}  // namespace
}  // namespace monograph::cuda::test
