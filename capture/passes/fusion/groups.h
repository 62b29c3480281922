// Sets of launches that are to become one, and whether they may.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "capture/ir/analysis.h"
#include "capture/ir/graph.h"

namespace monograph::passes {

/// The launches of a graph (calls that aren't views) in order, what must precede what, and a
/// partition of them into groups, at first one each. Snapshot of the graph at construction: holds
/// its node pointers, and the graph must not change while it is asked.
///
/// A group can run as one launch if no path leads out of it and back in; `join` keeps that true.
class Groups {
 public:
  using Id = std::int32_t;  ///< a launch's number; a group goes by one of its launches
  static constexpr Id kNone = -1;

  explicit Groups(const ir::Graph& graph);

  Id size() const noexcept { return static_cast<Id>(launches_.size()); }
  ir::Node& node(Id launch) const { return *launches_[index(launch)].node; }
  /// The launch that defines the storage of `value`, or kNone (inputs, weights, state).
  Id producer(const ir::Node& value) const;
  /// Launches that read what `launch` makes, through views too, ascending, without repetition.
  const std::vector<Id>& readers(Id launch) const { return launches_[index(launch)].readers; }
  /// True if what `launch` makes reaches an output of the graph.
  bool is_output(Id launch) const { return launches_[index(launch)].is_output; }
  /// True if somebody writes into what `launch` makes.
  bool is_overwritten(Id launch) const { return launches_[index(launch)].overwritten; }

  Id group(Id launch) const;
  const std::vector<Id>& members(Id group) const { return members_[index(this->group(group))]; }
  /// Members whose results something outside the group needs, ascending. Writes of state don't
  /// count.
  std::vector<Id> results(Id group) const;

  /// True if the groups of `a` and `b` differ and as one group would still depend on nothing that
  /// depends on them. Bounded: gives up and says no after looking at 4096 launches.
  bool can_join(Id a, Id b) const;
  /// Makes them one. Only after `can_join`.
  void join(Id a, Id b);
  /// Takes the members of a group apart again.
  void dissolve(Id group);
  /// Groups of two or more, as nodes in graph order; ordered by their last member.
  std::vector<std::vector<ir::Node*>> found() const;

 private:
  struct Launch {
    ir::Node* node = nullptr;
    std::vector<Id> readers;
    std::vector<Id> after;  ///< launches that must come later, ascending
    bool is_output = false;
    bool overwritten = false;
  };
  static std::size_t index(Id id) { return static_cast<std::size_t>(id); }
  void note_effects(const ir::Graph& graph);
  void add_edge(Id from, Id to);
  bool reaches(Id from, Id to, bool skip_direct) const;

  std::vector<Launch> launches_;
  std::vector<Id> producer_;  ///< by storage
  std::vector<Id> group_;     ///< by launch
  std::vector<std::vector<Id>> members_;
};

}  // namespace monograph::passes
