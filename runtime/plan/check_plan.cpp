// A second opinion on plans. Deliberately plain and slow, and sharing no code with make_plan:
// pairwise definitions spelt out, reachability by depth-first search.
#include <monograph/error.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "runtime/plan/plan.h"

namespace monograph::plan {
namespace {

[[noreturn]] void fail(const std::string& message) {
  throw Error(Code::kInternal, "check_plan: " + message);
}

void require(bool condition, const std::string& message) {
  if (!condition) fail(message);
}

std::string name_of(const Problem& problem, LaunchId launch) {
  return "launch " + std::to_string(launch) + " '" +
         problem.launches[static_cast<std::size_t>(launch)].name + "'";
}

std::string name_of(const Problem& problem, const Placement& p) {
  if (p.buffer < 0) return "the workspace of " + name_of(problem, p.launch);
  return "buffer " + std::to_string(p.buffer) + " '" +
         problem.buffers[static_cast<std::size_t>(p.buffer)].name + "'";
}

struct Access {
  LaunchId launch;
  bool writes;
};

/// All accesses of one buffer, in launch order.
std::vector<std::vector<Access>> accesses_by_buffer(const Problem& problem) {
  std::vector<std::vector<Access>> accesses(problem.buffers.size());
  for (const Launch& l : problem.launches) {
    std::vector<BufferId> touched = l.reads;
    touched.insert(touched.end(), l.writes.begin(), l.writes.end());
    for (const BufferId b : touched) {
      require(b >= 0 && static_cast<std::size_t>(b) < problem.buffers.size(),
              "buffer out of range");
      auto& list = accesses[static_cast<std::size_t>(b)];
      const bool writes = std::find(l.writes.begin(), l.writes.end(), b) != l.writes.end();
      if (list.empty() || list.back().launch != l.id) list.push_back({l.id, writes});
    }
  }
  return accesses;
}

void check_problem(const Problem& problem) {
  for (std::size_t i = 0; i < problem.buffers.size(); ++i) {
    require(problem.buffers[i].id == static_cast<BufferId>(i), "buffer ids aren't positions");
    require(problem.buffers[i].bytes >= 0, "a buffer has a negative size");
  }
  for (std::size_t i = 0; i < problem.launches.size(); ++i) {
    require(problem.launches[i].id == static_cast<LaunchId>(i), "launch ids aren't positions");
  }
}

void check_slots(const Plan& plan) {
  for (const BufferKind kind : {BufferKind::kInput, BufferKind::kOutput}) {
    std::vector<std::int32_t> slots;
    for (const Buffer& b : plan.problem.buffers) {
      if (b.kind == kind) slots.push_back(b.slot);
    }
    std::sort(slots.begin(), slots.end());
    for (std::size_t i = 0; i < slots.size(); ++i) {
      require(slots[i] == static_cast<std::int32_t>(i),
              "wrong slot among the " + std::string(buffer_kind_name(kind)) + " buffers");
    }
    const auto count = kind == BufferKind::kInput ? plan.input_count : plan.output_count;
    require(count == static_cast<std::int32_t>(slots.size()),
            "wrong " + std::string(buffer_kind_name(kind)) + " count");
  }
}

/// reach[a][b]: a path of edges leads from launch a to launch b.
using Reach = std::vector<std::vector<bool>>;

Reach find_reach(const Plan& plan) {
  const std::size_t n = plan.problem.launches.size();
  std::vector<std::vector<std::size_t>> next(n);
  for (const Edge& e : plan.edges) {
    require(e.from >= 0 && e.from < e.to && static_cast<std::size_t>(e.to) < n,
            "an edge doesn't lead forward in order");
    next[static_cast<std::size_t>(e.from)].push_back(static_cast<std::size_t>(e.to));
  }
  Reach reach(n, std::vector<bool>(n, false));
  for (std::size_t start = 0; start < n; ++start) {
    std::vector<std::size_t> stack = next[start];
    while (!stack.empty()) {
      const std::size_t v = stack.back();
      stack.pop_back();
      if (reach[start][v]) continue;
      reach[start][v] = true;
      stack.insert(stack.end(), next[v].begin(), next[v].end());
    }
  }
  return reach;
}

bool reaches(const Reach& reach, LaunchId from, LaunchId to) {
  return reach[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
}

/// Pairs of launches that touch the same buffer, at least one writing, must be ordered; and there
/// must be no other edges, and none that other edges imply.
void check_edges(const Plan& plan, const Reach& reach,
                 const std::vector<std::vector<Access>>& accesses) {
  std::vector<Edge> needed;
  for (std::size_t b = 0; b < accesses.size(); ++b) {
    for (std::size_t i = 0; i < accesses[b].size(); ++i) {
      for (std::size_t j = i + 1; j < accesses[b].size(); ++j) {
        const Access& from = accesses[b][i];
        const Access& to = accesses[b][j];
        if (!from.writes && !to.writes) continue;
        needed.push_back({from.launch, to.launch});
        require(reaches(reach, from.launch, to.launch),
                "missing edge: " + name_of(plan.problem, to.launch) + " must wait for " +
                    name_of(plan.problem, from.launch) + " because of buffer " + std::to_string(b) +
                    " '" + plan.problem.buffers[b].name + "'");
      }
    }
  }
  std::sort(needed.begin(), needed.end());
  for (std::size_t i = 0; i < plan.edges.size(); ++i) {
    const Edge& e = plan.edges[i];
    const std::string what = name_of(plan.problem, e.from) + " -> " + name_of(plan.problem, e.to);
    require(std::binary_search(needed.begin(), needed.end(), e), "needless edge: " + what);
    if (i > 0) {
      const Edge& before = plan.edges[i - 1];
      require(std::pair(before.to, before.from) < std::pair(e.to, e.from), "edges aren't sorted");
    }
  }
  std::vector<std::vector<LaunchId>> next(plan.problem.launches.size());
  for (const Edge& e : plan.edges) next[static_cast<std::size_t>(e.from)].push_back(e.to);
  for (const Edge& e : plan.edges) {
    for (const LaunchId first : next[static_cast<std::size_t>(e.from)]) {
      require(first == e.to || !reaches(reach, first, e.to),
              "edge implied by others: " + name_of(plan.problem, e.from) + " -> " +
                  name_of(plan.problem, e.to));
    }
  }
}

/// What must have a placement, with the launches that touch it.
struct Tenant {
  Placement placement;
  std::int64_t bytes;
  std::vector<LaunchId> touched_by;
};

void check_geometry(const Plan& plan, const Tenant& tenant) {
  const Placement& p = tenant.placement;
  const std::string who = name_of(plan.problem, p);
  require(p.offset >= 0 && p.offset % 256 == 0, who + " isn't aligned");
  require(p.bytes % 256 == 0 && p.bytes >= tenant.bytes && p.bytes - tenant.bytes < 256,
          who + " has a wrong size");
  require(p.bytes <= plan.arena_bytes && p.offset <= plan.arena_bytes - p.bytes,
          who + " sticks out of the arena");
  require(p.first == tenant.touched_by.front() && p.last == tenant.touched_by.back(),
          who + " has a wrong lifetime");
}

std::vector<Tenant> find_tenants(const Plan& plan,
                                 const std::vector<std::vector<Access>>& accesses) {
  std::vector<Tenant> tenants;
  for (std::size_t i = 0; i < plan.placements.size(); ++i) {
    const Placement& p = plan.placements[i];
    if (i > 0) {
      const Placement& before = plan.placements[i - 1];
      require(std::pair(before.buffer, before.launch) < std::pair(p.buffer, p.launch),
              "placements aren't sorted or not distinct");
    }
    Tenant tenant{p, 0, {}};
    if (p.buffer >= 0) {
      require(p.launch == -1 && static_cast<std::size_t>(p.buffer) < accesses.size(),
              "a placement of nothing");
      const Buffer& b = plan.problem.buffers[static_cast<std::size_t>(p.buffer)];
      require(b.kind == BufferKind::kIntermediate,
              name_of(plan.problem, p) + " isn't for the arena");
      tenant.bytes = b.bytes;
      for (const Access& a : accesses[static_cast<std::size_t>(p.buffer)]) {
        tenant.touched_by.push_back(a.launch);
      }
    } else {
      require(p.launch >= 0 && static_cast<std::size_t>(p.launch) < plan.problem.launches.size(),
              "a placement of nothing");
      tenant.bytes = plan.problem.launches[static_cast<std::size_t>(p.launch)].workspace_bytes;
      tenant.touched_by = {p.launch};
      require(tenant.bytes > 0, name_of(plan.problem, p) + " is empty");
    }
    require(!tenant.touched_by.empty(), name_of(plan.problem, p) + " is never touched");
    check_geometry(plan, tenant);
    tenants.push_back(std::move(tenant));
  }
  return tenants;
}

void check_complete(const Plan& plan, const std::vector<std::vector<Access>>& accesses) {
  std::vector<bool> buffer_placed(plan.problem.buffers.size(), false);
  std::vector<bool> workspace_placed(plan.problem.launches.size(), false);
  for (const Placement& p : plan.placements) {
    if (p.buffer >= 0) {
      buffer_placed[static_cast<std::size_t>(p.buffer)] = true;
    } else {
      workspace_placed[static_cast<std::size_t>(p.launch)] = true;
    }
  }
  for (const Buffer& b : plan.problem.buffers) {
    const auto i = static_cast<std::size_t>(b.id);
    const bool due = b.kind == BufferKind::kIntermediate && !accesses[i].empty();
    require(due == buffer_placed[i], "buffer " + std::to_string(i) + " lacks its placement");
  }
  for (const Launch& l : plan.problem.launches) {
    require((l.workspace_bytes > 0) == workspace_placed[static_cast<std::size_t>(l.id)],
            "the workspace of " + name_of(plan.problem, l.id) + " lacks its placement");
  }
}

/// True if everything that touches `a` is over before anything that touches `b` starts.
bool precedes(const Plan& plan, const Reach& reach, const Tenant& a, const Tenant& b) {
  for (const LaunchId x : a.touched_by) {
    for (const LaunchId y : b.touched_by) {
      const bool ordered =
          plan.concurrency == Concurrency::kSequential ? x < y : reaches(reach, x, y);
      if (!ordered) return false;
    }
  }
  return true;
}

void check_overlap(const Plan& plan, const Reach& reach, const std::vector<Tenant>& tenants) {
  std::int64_t top = 0;
  for (std::size_t i = 0; i < tenants.size(); ++i) {
    const Placement& a = tenants[i].placement;
    top = std::max(top, a.offset + a.bytes);
    for (std::size_t j = 0; j < i; ++j) {
      const Placement& b = tenants[j].placement;
      const bool share = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes &&
                         a.bytes > 0 && b.bytes > 0;
      if (!share || precedes(plan, reach, tenants[i], tenants[j]) ||
          precedes(plan, reach, tenants[j], tenants[i])) {
        continue;
      }
      fail(name_of(plan.problem, b) + " and " + name_of(plan.problem, a) +
           " overlap in the arena while both may be alive");
    }
  }
  require(plan.arena_bytes == top, "the arena ends elsewhere than its last tenant");
}

void check_lower_bound(const Plan& plan, const std::vector<Tenant>& tenants) {
  std::int64_t most = 0;
  for (const Launch& l : plan.problem.launches) {
    std::int64_t live = 0;
    for (const Tenant& t : tenants) {
      if (t.touched_by.front() <= l.id && l.id <= t.touched_by.back()) live += t.bytes;
    }
    most = std::max(most, live);
  }
  require(plan.lower_bound_bytes == most, "wrong lower bound: recorded " +
                                              std::to_string(plan.lower_bound_bytes) +
                                              ", counted " + std::to_string(most));
}

}  // namespace

void check_plan(const Plan& plan) {
  check_problem(plan.problem);
  check_slots(plan);
  const auto accesses = accesses_by_buffer(plan.problem);
  const Reach reach = find_reach(plan);
  check_edges(plan, reach, accesses);
  const std::vector<Tenant> tenants = find_tenants(plan, accesses);
  check_complete(plan, accesses);
  check_overlap(plan, reach, tenants);
  check_lower_bound(plan, tenants);
}

}  // namespace monograph::plan
