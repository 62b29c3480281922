// Runs a plan on pretend memory: every launch writes tags only it writes and verifies the tags it
// should find, so that missing edges and shared bytes show as wrong contents.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "runtime/plan/plan.h"

namespace monograph::plan::testing {

/// A launch starts or ends. Between the two others may start and end.
struct Event {
  LaunchId launch = -1;
  bool begins = true;
};
using Schedule = std::vector<Event>;

/// Each launch ends before the next begins.
Schedule sequential_schedule(const Plan& plan);

/// A random order of starts and ends in which no launch starts before all launches that it waits
/// for have ended.
Schedule random_schedule(const Plan& plan, std::mt19937_64& random);

/// Schedules that `edges` of the plan minus `removed` allow and that are most likely to show its
/// absence: removed.to before removed.from, and both at the same time.
std::vector<Schedule> hostile_schedules(const Plan& plan, const Edge& removed);

/// Empty if every read found what the launch order says, nothing was disturbed while a launch was
/// running, and outputs and state hold the right contents at the end; otherwise what went wrong.
std::string simulate(const Plan& plan, const Schedule& schedule);

}  // namespace monograph::plan::testing
