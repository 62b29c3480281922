#include "tests/plan/simulator.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <utility>

namespace monograph::plan::testing {
namespace {

using Tag = std::uint64_t;

std::size_t index(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

Tag initial_tag(BufferId b) {
  return 1000000000000ULL + static_cast<Tag>(b);
}
Tag final_tag(LaunchId l, BufferId b) {
  return (static_cast<Tag>(l) + 1) * 1000000 + static_cast<Tag>(b) + 1;
}
Tag partial_tag(LaunchId l, BufferId b) {
  return final_tag(l, b) + 500000;
}
Tag workspace_tag(LaunchId l) {
  return 2000000000000ULL + static_cast<Tag>(l);
}

bool contains(const std::vector<BufferId>& ids, BufferId b) {
  return std::find(ids.begin(), ids.end(), b) != ids.end();
}

/// One cell per kAlignment bytes of the arena, and one per buffer outside.
class Machine {
 public:
  explicit Machine(const Plan& plan)
      : plan_(plan), arena_(index(plan.arena_bytes / kAlignment), 0) {
    for (const Buffer& b : plan.problem.buffers) own_.push_back({initial_tag(b.id)});
    find_expected();
  }

  std::string run(const Schedule& schedule) {
    for (const Event& e : schedule) {
      const Launch& l = plan_.problem.launches[index(e.launch)];
      e.begins ? begin(l) : end(l);
      if (!wrong_.empty()) return wrong_;
    }
    for (const Buffer& b : plan_.problem.buffers) {
      if (b.kind == BufferKind::kOutput || b.kind == BufferKind::kState) {
        verify(b.id, final_[index(b.id)], "at the end");
      }
    }
    return wrong_;
  }

 private:
  /// What each read finds, and what is left at the end, when run in order.
  void find_expected() {
    for (const Buffer& b : plan_.problem.buffers) final_.push_back(initial_tag(b.id));
    for (const Launch& l : plan_.problem.launches) {
      std::vector<Tag> tags;
      for (const BufferId b : l.reads) tags.push_back(final_[index(b)]);
      expected_.push_back(tags);
      for (const BufferId b : l.writes) final_[index(b)] = final_tag(l.id, b);
    }
  }

  void begin(const Launch& l) {
    for (std::size_t i = 0; i < l.reads.size(); ++i) {
      verify(l.reads[i], expected_[index(l.id)][i], "read by " + l.name);
    }
    for (const BufferId b : l.writes) fill(cells(b), partial_tag(l.id, b));
    if (l.workspace_bytes > 0) fill(workspace(l), workspace_tag(l.id));
  }

  void end(const Launch& l) {
    for (std::size_t i = 0; i < l.reads.size(); ++i) {
      if (contains(l.writes, l.reads[i])) continue;
      verify(l.reads[i], expected_[index(l.id)][i], "while read by " + l.name);
    }
    for (const BufferId b : l.writes) {
      verify(b, partial_tag(l.id, b), "while written by " + l.name);
      fill(cells(b), final_tag(l.id, b));
    }
    if (l.workspace_bytes > 0 && !holds(workspace(l), workspace_tag(l.id))) {
      report("the workspace of " + l.name + " was disturbed");
    }
  }

  std::pair<Tag*, Tag*> cells(BufferId b) {
    const Buffer& buffer = plan_.problem.buffers[index(b)];
    if (buffer.bytes == 0) return {nullptr, nullptr};
    if (buffer.kind != BufferKind::kIntermediate) {
      return {own_[index(b)].data(), own_[index(b)].data() + 1};
    }
    return span(plan_.offset_of(b), buffer.bytes);
  }
  std::pair<Tag*, Tag*> workspace(const Launch& l) {
    return span(plan_.workspace_offset_of(l.id), l.workspace_bytes);
  }
  std::pair<Tag*, Tag*> span(std::int64_t offset, std::int64_t bytes) {
    const std::int64_t end = (offset + bytes + kAlignment - 1) / kAlignment;
    if (offset < 0 || index(end) > arena_.size()) {
      report("bytes outside of the arena");
      return {nullptr, nullptr};
    }
    return {arena_.data() + offset / kAlignment, arena_.data() + end};
  }
  static void fill(std::pair<Tag*, Tag*> span, Tag tag) { std::fill(span.first, span.second, tag); }
  static bool holds(std::pair<Tag*, Tag*> span, Tag tag) {
    return std::all_of(span.first, span.second, [tag](Tag t) { return t == tag; });
  }
  void verify(BufferId b, Tag tag, const std::string& when) {
    if (holds(cells(b), tag)) return;
    report("buffer " + std::to_string(b) + " holds the wrong contents " + when);
  }
  void report(const std::string& what) {
    if (wrong_.empty()) wrong_ = what;
  }

  const Plan& plan_;
  std::vector<Tag> arena_;
  std::vector<std::vector<Tag>> own_;
  std::vector<std::vector<Tag>> expected_;
  std::vector<Tag> final_;
  std::string wrong_;
};

std::vector<std::vector<LaunchId>> neighbours(const Plan& plan, bool forward) {
  std::vector<std::vector<LaunchId>> lists(plan.problem.launches.size());
  for (const Edge& e : plan.edges) {
    if (forward) {
      lists[index(e.from)].push_back(e.to);
    } else {
      lists[index(e.to)].push_back(e.from);
    }
  }
  return lists;
}

void run_one(Schedule& schedule, LaunchId l) {
  schedule.push_back({l, true});
  schedule.push_back({l, false});
}

}  // namespace

Schedule sequential_schedule(const Plan& plan) {
  Schedule schedule;
  for (const Launch& l : plan.problem.launches) run_one(schedule, l.id);
  return schedule;
}

Schedule random_schedule(const Plan& plan, std::mt19937_64& random) {
  const auto after = neighbours(plan, true);
  std::vector<int> waiting_for(after.size(), 0);
  for (const Edge& e : plan.edges) ++waiting_for[index(e.to)];
  std::vector<Event> possible;
  for (std::size_t l = 0; l < after.size(); ++l) {
    if (waiting_for[l] == 0) possible.push_back({static_cast<LaunchId>(l), true});
  }
  Schedule schedule;
  while (!possible.empty()) {
    const std::size_t at =
        std::uniform_int_distribution<std::size_t>(0, possible.size() - 1)(random);
    const Event event = possible[at];
    possible.erase(possible.begin() + static_cast<std::ptrdiff_t>(at));
    schedule.push_back(event);
    if (event.begins) {
      possible.push_back({event.launch, false});
      continue;
    }
    for (const LaunchId next : after[index(event.launch)]) {
      if (--waiting_for[index(next)] == 0) possible.push_back({next, true});
    }
  }
  return schedule;
}

std::vector<Schedule> hostile_schedules(const Plan& plan, const Edge& removed) {
  Plan without = plan;
  std::erase(without.edges, removed);
  const auto before = neighbours(without, false);
  const auto collect = [&](LaunchId of, std::set<LaunchId>& into) {
    std::function<void(LaunchId)> visit = [&](LaunchId l) {
      for (const LaunchId p : before[index(l)]) {
        if (into.insert(p).second) visit(p);
      }
    };
    visit(of);
  };
  const auto finish = [&](Schedule schedule, std::set<LaunchId> done) {
    for (const Launch& l : plan.problem.launches) {
      if (!done.contains(l.id)) run_one(schedule, l.id);
    }
    return schedule;
  };

  std::set<LaunchId> needs;
  collect(removed.to, needs);
  Schedule swapped;
  for (const LaunchId l : needs) run_one(swapped, l);
  run_one(swapped, removed.to);
  std::set<LaunchId> done = needs;
  done.insert(removed.to);
  swapped = finish(std::move(swapped), done);

  collect(removed.from, needs);
  Schedule together;
  for (const LaunchId l : needs) run_one(together, l);
  together.push_back({removed.from, true});
  run_one(together, removed.to);
  together.push_back({removed.from, false});
  needs.insert({removed.from, removed.to});
  return {swapped, finish(std::move(together), needs)};
}

std::string simulate(const Plan& plan, const Schedule& schedule) {
  return Machine(plan).run(schedule);
}

}  // namespace monograph::plan::testing
