#include "tests/plan/problems.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace monograph::plan::testing {
namespace {

using Random = std::mt19937_64;

std::int64_t pick(Random& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

bool chance(Random& random, int percent) {
  return pick(random, 1, 100) <= percent;
}

/// Mostly a few hundred bytes, now and then empty, one byte, exactly aligned or large.
std::int64_t random_bytes(Random& random) {
  switch (pick(random, 0, 7)) {
    case 0:
      return 0;
    case 1:
      return 1;
    case 2:
      return kAlignment * pick(random, 1, 4);
    case 3:
      return pick(random, 1, 20000);
    default:
      return pick(random, 1, 2000);
  }
}

std::int64_t random_workspace(Random& random) {
  return chance(random, 25) ? pick(random, 1, 3000) : 0;
}

BufferId any(Random& random, const std::vector<BufferId>& ids) {
  return ids[static_cast<std::size_t>(pick(random, 0, std::ssize(ids) - 1))];
}

Problem chain(Random& random) {
  Builder b;
  BufferId last = b.input(random_bytes(random));
  const BufferId w = b.weight(random_bytes(random));
  for (std::int64_t i = pick(random, 1, 25); i > 0; --i) {
    const BufferId next = b.intermediate(random_bytes(random));
    b.launch({last, w}, {next}, random_workspace(random));
    last = next;
  }
  b.launch({last}, {b.output(random_bytes(random))});
  return b.take();
}

Problem diamond(Random& random) {
  Builder b;
  BufferId last = b.input(random_bytes(random));
  for (std::int64_t i = pick(random, 1, 6); i > 0; --i) {
    std::vector<BufferId> ends;
    for (std::int64_t arm = pick(random, 2, 4); arm > 0; --arm) {
      BufferId at = last;
      for (std::int64_t step = pick(random, 1, 3); step > 0; --step) {
        const BufferId next = b.intermediate(random_bytes(random));
        b.launch({at}, {next}, random_workspace(random));
        at = next;
      }
      ends.push_back(at);
    }
    last = b.intermediate(random_bytes(random));
    b.launch(ends, {last});
  }
  b.launch({last}, {b.output(random_bytes(random))});
  return b.take();
}

Problem wide(Random& random) {
  Builder b;
  const BufferId in = b.input(random_bytes(random));
  std::vector<BufferId> results;
  for (std::int64_t i = pick(random, 2, 30); i > 0; --i) {
    results.push_back(b.intermediate(random_bytes(random)));
    b.launch({in}, {results.back()}, random_workspace(random));
  }
  b.launch(results, {b.output(random_bytes(random))});
  return b.take();
}

/// Chains that are updated where they stand, and read from elsewhere in between.
Problem in_place(Random& random) {
  Builder b;
  std::vector<BufferId> live{b.input(random_bytes(random))};
  std::vector<BufferId> own;
  for (std::int64_t i = pick(random, 3, 30); i > 0; --i) {
    if (!own.empty() && chance(random, 55)) {
      const BufferId target = any(random, own);
      b.launch({target, any(random, live)}, {target}, random_workspace(random));
    } else {
      const BufferId fresh = b.intermediate(random_bytes(random));
      b.launch({any(random, live)}, {fresh});
      own.push_back(fresh);
      live.push_back(fresh);
    }
  }
  b.launch({any(random, live)}, {b.output(random_bytes(random))});
  return b.take();
}

Problem layered(Random& random) {
  Builder b;
  std::vector<BufferId> before{b.input(random_bytes(random)), b.input(random_bytes(random))};
  for (std::int64_t layer = pick(random, 1, 6); layer > 0; --layer) {
    std::vector<BufferId> after;
    for (std::int64_t i = pick(random, 1, 6); i > 0; --i) {
      after.push_back(b.intermediate(random_bytes(random)));
      b.launch({any(random, before), any(random, before)}, {after.back()},
               random_workspace(random));
    }
    before = after;
  }
  b.launch(before, {b.output(random_bytes(random)), b.output(random_bytes(random))});
  return b.take();
}

/// Few buffers, each overwritten again and again, also without anyone having read them.
Problem rewritten(Random& random) {
  Builder b;
  std::vector<BufferId> all;
  for (std::int64_t i = pick(random, 2, 6); i > 0; --i) {
    all.push_back(chance(random, 25) ? b.state(random_bytes(random))
                                     : b.intermediate(random_bytes(random)));
    b.launch({}, {all.back()});
  }
  for (std::int64_t i = pick(random, 1, 30); i > 0; --i) {
    std::vector<BufferId> reads;
    for (std::int64_t r = pick(random, 0, 2); r > 0; --r) reads.push_back(any(random, all));
    b.launch(reads, {any(random, all)}, random_workspace(random));
  }
  return b.take();
}

/// A little of everything.
Problem mixed(Random& random) {
  Builder b;
  std::vector<BufferId> readable{b.input(random_bytes(random)), b.weight(random_bytes(random))};
  std::vector<BufferId> writable;
  for (std::int64_t i = pick(random, 0, 2); i > 0; --i) {
    readable.push_back(b.state(random_bytes(random)));
    writable.push_back(readable.back());
  }
  b.input(random_bytes(random));         // nobody reads it
  b.intermediate(random_bytes(random));  // nobody touches it
  for (std::int64_t i = pick(random, 1, 40); i > 0; --i) {
    std::vector<BufferId> reads;
    std::vector<BufferId> writes;
    for (std::int64_t r = pick(random, 0, 3); r > 0; --r) reads.push_back(any(random, readable));
    for (std::int64_t w = pick(random, 0, 2); w > 0; --w) {
      if (!writable.empty() && chance(random, 30)) {
        writes.push_back(any(random, writable));
      } else {
        writes.push_back(chance(random, 15) ? b.output(random_bytes(random))
                                            : b.intermediate(random_bytes(random)));
      }
    }
    b.launch(reads, writes, random_workspace(random));
    for (const BufferId w : writes) {
      if (std::find(readable.begin(), readable.end(), w) != readable.end()) continue;
      if (chance(random, 85)) readable.push_back(w);  // else a dead write
      if (chance(random, 40)) writable.push_back(w);
    }
  }
  return b.take();
}

using Family = std::pair<std::string, std::function<Problem(Random&)>>;

const std::vector<Family>& generators() {
  static const std::vector<Family> all{
      {"chain", chain},     {"diamond", diamond},     {"wide", wide},   {"in_place", in_place},
      {"layered", layered}, {"rewritten", rewritten}, {"mixed", mixed},
  };
  return all;
}

}  // namespace

BufferId Builder::add(BufferKind kind, std::int64_t bytes, std::int32_t slot,
                      const std::string& name) {
  const auto id = static_cast<BufferId>(problem_.buffers.size());
  problem_.buffers.push_back({id, kind, bytes, slot, name + std::to_string(id)});
  return id;
}

BufferId Builder::input(std::int64_t bytes) {
  return add(BufferKind::kInput, bytes, inputs_++, "in");
}
BufferId Builder::output(std::int64_t bytes) {
  return add(BufferKind::kOutput, bytes, outputs_++, "out");
}
BufferId Builder::weight(std::int64_t bytes) {
  return add(BufferKind::kWeight, bytes, -1, "w");
}
BufferId Builder::state(std::int64_t bytes) {
  return add(BufferKind::kState, bytes, -1, "state");
}
BufferId Builder::intermediate(std::int64_t bytes) {
  return add(BufferKind::kIntermediate, bytes, -1, "t");
}

LaunchId Builder::launch(std::vector<BufferId> reads, std::vector<BufferId> writes,
                         std::int64_t workspace) {
  for (auto* ids : {&reads, &writes}) {
    std::sort(ids->begin(), ids->end());
    ids->erase(std::unique(ids->begin(), ids->end()), ids->end());
  }
  const auto id = static_cast<LaunchId>(problem_.launches.size());
  problem_.launches.push_back(
      {id, "launch_" + std::to_string(id), std::move(reads), std::move(writes), workspace});
  return id;
}

Problem transformer(int layers, std::int64_t tokens, std::int64_t hidden, std::int64_t ffn) {
  Builder b;
  const std::int64_t act = tokens * hidden * 4;
  const BufferId ids = b.input(tokens * 8);
  const BufferId mask_in = b.input(tokens * 8);
  const BufferId w = b.weight(hidden * hidden * 4);
  const auto step = [&b](std::vector<BufferId> reads, std::int64_t bytes, std::int64_t ws = 0) {
    const BufferId out = b.intermediate(bytes);
    b.launch(std::move(reads), {out}, ws);
    return out;
  };
  const BufferId mask = step({mask_in}, tokens * 4);
  BufferId x = step({ids, w}, act);
  for (int i = 0; i < layers; ++i) {
    const BufferId q = step({x, w}, act);
    const BufferId k = step({x, w}, act);
    const BufferId v = step({x, w}, act);
    const BufferId attention = step({q, k, v, mask}, act, tokens * 64);
    const BufferId projected = step({attention, w}, act);
    const BufferId sum = step({projected, x}, act);
    const BufferId normed = step({sum, w}, act);
    const BufferId up = step({normed, w}, tokens * ffn * 4);
    const BufferId activated = step({up}, tokens * ffn * 4);
    const BufferId down = step({activated, w}, act);
    const BufferId sum2 = step({down, normed}, act);
    x = step({sum2, w}, act);
  }
  b.launch({x}, {b.output(act)});
  return b.take();
}

const std::vector<std::string>& families() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Family& f : generators()) list.push_back(f.first);
    return list;
  }();
  return names;
}

Problem random_problem(const std::string& family, std::mt19937_64& random) {
  const auto& all = generators();
  const auto it =
      std::find_if(all.begin(), all.end(), [&](const Family& f) { return f.first == family; });
  return it->second(random);
}

Problem synthetic(int launches, int fan_in, int window, std::uint64_t seed) {
  Random random(seed);
  Builder b;
  std::vector<BufferId> results{b.input(4096)};
  std::vector<bool> was_read{false};
  const BufferId w = b.weight(1 << 20);
  for (int i = 0; i + 1 < launches; ++i) {
    std::vector<BufferId> reads{w};
    const auto read = [&](std::int64_t back) {
      const std::size_t at = results.size() - static_cast<std::size_t>(back);
      reads.push_back(results[at]);
      was_read[at] = true;
    };
    for (std::int64_t r = pick(random, 1, fan_in); r > 0; --r) {
      read(pick(random, 1, std::min<std::int64_t>(window, std::ssize(results))));
    }
    if (std::ssize(results) >= window &&
        !was_read[results.size() - static_cast<std::size_t>(window)]) {
      read(window);
    }
    results.push_back(b.intermediate(pick(random, 1, 64) * 1000));
    was_read.push_back(false);
    b.launch(reads, {results.back()}, random_workspace(random));
  }
  std::vector<BufferId> rest;
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!was_read[i]) rest.push_back(results[i]);
  }
  b.launch(rest, {b.output(4096)});
  return b.take();
}

}  // namespace monograph::plan::testing
