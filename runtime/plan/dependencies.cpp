#include "runtime/plan/dependencies.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

namespace monograph::plan {
namespace {

/// Accesses of one buffer since its last write.
struct Recent {
  LaunchId writer = -1;
  std::vector<LaunchId> readers;
};

std::size_t index(LaunchId id) {
  return static_cast<std::size_t>(id);
}

void touch(Lifetime& lifetime, LaunchId launch) {
  if (lifetime.first < 0) lifetime.first = launch;
  lifetime.last = launch;
}

void add_write(Recent& recent, LaunchId launch, std::vector<LaunchId>& predecessors) {
  bool waits_for_reader = false;
  for (const LaunchId reader : recent.readers) {
    if (reader == launch) continue;
    predecessors.push_back(reader);
    waits_for_reader = true;
  }
  // Readers already come after the writer.
  if (!waits_for_reader && recent.writer >= 0) predecessors.push_back(recent.writer);
  recent.writer = launch;
  recent.readers.clear();
}

/// A set of launches as bits. Words below `ones` are all set, words [begin, begin + words.size())
/// are given, the rest is clear. Ancestor sets are mostly a full prefix and a short tail.
struct Row {
  std::size_t ones = 0;
  std::size_t begin = 0;
  std::vector<std::uint64_t> words;
};

/// A Row under construction with room for every launch.
class Scratch {
 public:
  explicit Scratch(std::size_t launches) : words_((launches + 63) / 64, 0) {}

  void clear() {
    if (begin_ < end_) {
      std::fill(words_.begin() + static_cast<std::ptrdiff_t>(begin_),
                words_.begin() + static_cast<std::ptrdiff_t>(end_), 0);
    }
    ones_ = 0;
    begin_ = words_.size();
    end_ = 0;
  }
  bool contains(LaunchId id) const {
    const std::size_t w = index(id) / 64;
    return w < ones_ || (words_[w] >> (index(id) % 64) & 1U) != 0;
  }
  void insert(LaunchId id) {
    const std::size_t w = index(id) / 64;
    words_[w] |= std::uint64_t{1} << (index(id) % 64);
    widen(w, w + 1);
  }
  void insert(const Row& row) {
    ones_ = std::max(ones_, row.ones);
    for (std::size_t i = 0; i < row.words.size(); ++i) words_[row.begin + i] |= row.words[i];
    if (!row.words.empty()) widen(row.begin, row.begin + row.words.size());
  }
  Row row() const {
    Row row;
    row.ones = ones_;
    std::size_t begin = begin_;
    if (begin <= ones_) {
      while (row.ones < end_ && words_[row.ones] == ~std::uint64_t{0}) ++row.ones;
      begin = row.ones;
    }
    if (begin >= end_) return row;
    row.begin = begin;
    row.words.assign(words_.begin() + static_cast<std::ptrdiff_t>(begin),
                     words_.begin() + static_cast<std::ptrdiff_t>(end_));
    return row;
  }

 private:
  void widen(std::size_t begin, std::size_t end) {
    begin_ = std::min(begin_, begin);
    end_ = std::max(end_, end);
  }

  std::vector<std::uint64_t> words_;
  std::size_t ones_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

std::vector<std::int32_t> count_successors(const std::vector<std::vector<LaunchId>>& predecessors) {
  std::vector<std::int32_t> count(predecessors.size(), 0);
  for (const auto& list : predecessors) {
    for (const LaunchId p : list) ++count[index(p)];
  }
  return count;
}

}  // namespace

Dependencies find_dependencies(const Problem& problem) {
  Dependencies result;
  result.predecessors.resize(problem.launches.size());
  result.lifetimes.resize(problem.buffers.size());
  std::vector<Recent> recent(problem.buffers.size());
  for (const Launch& launch : problem.launches) {
    auto& predecessors = result.predecessors[index(launch.id)];
    for (const BufferId id : launch.reads) {
      Recent& r = recent[static_cast<std::size_t>(id)];
      if (r.writer >= 0) predecessors.push_back(r.writer);
      r.readers.push_back(launch.id);
      touch(result.lifetimes[static_cast<std::size_t>(id)], launch.id);
    }
    for (const BufferId id : launch.writes) {
      add_write(recent[static_cast<std::size_t>(id)], launch.id, predecessors);
      touch(result.lifetimes[static_cast<std::size_t>(id)], launch.id);
    }
    std::sort(predecessors.begin(), predecessors.end(), std::greater<>());
    predecessors.erase(std::unique(predecessors.begin(), predecessors.end()), predecessors.end());
  }
  for (std::size_t i = 0; i < recent.size(); ++i) {
    auto& sinks = result.lifetimes[i].sinks;
    sinks = std::move(recent[i].readers);
    if (sinks.empty() && recent[i].writer >= 0) sinks.push_back(recent[i].writer);
  }
  return result;
}

std::vector<Edge> reduce(const Dependencies& dependencies) {
  const auto& predecessors = dependencies.predecessors;
  std::vector<std::int32_t> pending = count_successors(predecessors);
  std::vector<Row> ancestors(predecessors.size());
  Scratch scratch(predecessors.size());
  std::vector<Edge> edges;
  for (std::size_t v = 0; v < predecessors.size(); ++v) {
    const std::size_t first_edge = edges.size();
    scratch.clear();
    // From the latest predecessor down: one that is an ancestor of another is an ancestor of one
    // that was kept, because the relation is transitive.
    for (const LaunchId p : predecessors[v]) {
      if (!scratch.contains(p)) {
        edges.push_back({p, static_cast<LaunchId>(v)});
        scratch.insert(ancestors[index(p)]);
        scratch.insert(p);
      }
      if (--pending[index(p)] == 0) ancestors[index(p)] = Row{};
    }
    std::reverse(edges.begin() + static_cast<std::ptrdiff_t>(first_edge), edges.end());
    if (pending[v] > 0) ancestors[v] = scratch.row();
  }
  return edges;
}

}  // namespace monograph::plan
