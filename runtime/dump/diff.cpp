#include "runtime/dump/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <span>
#include <utility>

namespace monograph::dump {
namespace {

using Ids = std::span<const std::int32_t>;
using Kind = DiffRun::Kind;

/// How often a line occurs in each text, and where last.
struct Occurrence {
  int before = 0;
  int after = 0;
  std::int32_t at_before = -1;
  std::int32_t at_after = -1;
};

/// Pairs of positions of lines that occur once on both sides, ascending by the first.
std::vector<std::pair<std::int32_t, std::int32_t>> unique_pairs(Ids before, Ids after) {
  std::map<std::int32_t, Occurrence> seen;
  for (std::size_t i = 0; i < before.size(); ++i) {
    Occurrence& o = seen[before[i]];
    ++o.before;
    o.at_before = static_cast<std::int32_t>(i);
  }
  for (std::size_t i = 0; i < after.size(); ++i) {
    Occurrence& o = seen[after[i]];
    ++o.after;
    o.at_after = static_cast<std::int32_t>(i);
  }
  std::vector<std::pair<std::int32_t, std::int32_t>> pairs;
  for (const auto& [id, o] : seen) {
    if (o.before == 1 && o.after == 1) pairs.emplace_back(o.at_before, o.at_after);
  }
  std::ranges::sort(pairs);
  return pairs;
}

/// The longest subsequence of `pairs` that ascends in both (patience sorting).
std::vector<std::pair<std::int32_t, std::int32_t>> ascending(
    const std::vector<std::pair<std::int32_t, std::int32_t>>& pairs) {
  std::vector<std::size_t> tops;
  std::vector<std::ptrdiff_t> previous(pairs.size(), -1);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto pile = std::ranges::lower_bound(tops, pairs[i].second, {},
                                               [&pairs](std::size_t t) { return pairs[t].second; });
    if (pile != tops.begin()) previous[i] = static_cast<std::ptrdiff_t>(*std::prev(pile));
    if (pile == tops.end()) {
      tops.push_back(i);
    } else {
      *pile = i;
    }
  }
  std::vector<std::pair<std::int32_t, std::int32_t>> chain;
  auto at = tops.empty() ? std::ptrdiff_t{-1} : static_cast<std::ptrdiff_t>(tops.back());
  for (; at >= 0; at = previous[static_cast<std::size_t>(at)]) {
    chain.push_back(pairs[static_cast<std::size_t>(at)]);
  }
  std::ranges::reverse(chain);
  return chain;
}

void add_run(std::vector<DiffRun>& runs, Kind kind, std::size_t count) {
  if (count == 0) return;
  if (!runs.empty() && runs.back().kind == kind) {
    runs.back().count += static_cast<std::int32_t>(count);
  } else {
    runs.push_back({kind, static_cast<std::int32_t>(count)});
  }
}

/// Between two anchors: what both sides begin and end with is the same, the rest is replaced.
void add_gap(std::vector<DiffRun>& runs, Ids before, Ids after) {
  const std::size_t shorter = std::min(before.size(), after.size());
  std::size_t head = 0;
  while (head < shorter && before[head] == after[head]) ++head;
  std::size_t tail = 0;
  while (tail < shorter - head &&
         before[before.size() - 1 - tail] == after[after.size() - 1 - tail]) {
    ++tail;
  }
  add_run(runs, Kind::kSame, head);
  add_run(runs, Kind::kRemoved, before.size() - head - tail);
  add_run(runs, Kind::kAdded, after.size() - head - tail);
  add_run(runs, Kind::kSame, tail);
}

/// One line of a unified diff, with its place in both texts (counted from 0).
struct Line {
  char mark = ' ';
  std::int32_t id = 0;
  std::size_t before = 0;
  std::size_t after = 0;
};

std::vector<Line> marked_lines(const std::vector<std::int32_t>& before,
                               const std::vector<std::int32_t>& after) {
  std::vector<Line> out;
  std::size_t b = 0;
  std::size_t a = 0;
  for (const DiffRun& run : diff(before, after)) {
    for (std::int32_t i = 0; i < run.count; ++i) {
      if (run.kind == Kind::kAdded) {
        out.push_back({'+', after[a], b, a});
        ++a;
      } else {
        out.push_back({run.kind == Kind::kSame ? ' ' : '-', before[b], b, a});
        ++b;
        if (run.kind == Kind::kSame) ++a;
      }
    }
  }
  return out;
}

/// Where a hunk begins, as `patch` wants it: an empty range names the line before it.
std::string range(std::size_t first, std::size_t count) {
  return fmt::format("{},{}", count == 0 ? first : first + 1, count);
}

void add_hunk(std::string& out, std::span<const Line> hunk, const LineTable& table) {
  const auto in_before = [](const Line& l) { return l.mark != '+'; };
  const auto in_after = [](const Line& l) { return l.mark != '-'; };
  out += fmt::format(
      "@@ -{} +{} @@\n",
      range(hunk.front().before, static_cast<std::size_t>(std::ranges::count_if(hunk, in_before))),
      range(hunk.front().after, static_cast<std::size_t>(std::ranges::count_if(hunk, in_after))));
  for (const Line& l : hunk) {
    out += l.mark;
    out += table.lines()[static_cast<std::size_t>(l.id)];
    out += '\n';
  }
}

}  // namespace

std::int32_t LineTable::id_of(std::string_view line) {
  constexpr std::size_t kBuckets = 1 << 12;
  if (buckets_.empty()) buckets_.resize(kBuckets);
  auto& bucket = buckets_[std::hash<std::string_view>{}(line) % kBuckets];
  for (const std::int32_t id : bucket) {
    if (lines_[static_cast<std::size_t>(id)] == line) return id;
  }
  bucket.push_back(static_cast<std::int32_t>(lines_.size()));
  lines_.emplace_back(line);
  return bucket.back();
}

std::vector<std::int32_t> LineTable::intern(std::string_view text) {
  std::vector<std::int32_t> ids;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    ids.push_back(id_of(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return ids;
}

std::vector<DiffRun> diff(const std::vector<std::int32_t>& before,
                          const std::vector<std::int32_t>& after) {
  std::vector<DiffRun> runs;
  const Ids all_before(before);
  const Ids all_after(after);
  std::size_t b = 0;
  std::size_t a = 0;
  for (const auto& [at_before, at_after] : ascending(unique_pairs(before, after))) {
    const auto next_b = static_cast<std::size_t>(at_before);
    const auto next_a = static_cast<std::size_t>(at_after);
    add_gap(runs, all_before.subspan(b, next_b - b), all_after.subspan(a, next_a - a));
    add_run(runs, Kind::kSame, 1);
    b = next_b + 1;
    a = next_a + 1;
  }
  add_gap(runs, all_before.subspan(b), all_after.subspan(a));
  return runs;
}

std::string unified_diff(std::string_view before_name, std::string_view before,
                         std::string_view after_name, std::string_view after) {
  constexpr std::size_t kContext = 3;
  LineTable table;
  const auto ids_before = table.intern(before);
  const auto lines = marked_lines(ids_before, table.intern(after));
  std::string out;
  const auto changed = [&lines](std::size_t i) { return lines[i].mark != ' '; };
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (!changed(i)) continue;
    const std::size_t first = i < kContext ? 0 : i - kContext;
    std::size_t last = i;  // the last changed line of this hunk
    for (std::size_t k = i + 1; k < lines.size() && k <= last + 2 * kContext; ++k) {
      if (changed(k)) last = k;
    }
    const std::size_t end = std::min(last + kContext + 1, lines.size());
    if (out.empty()) out = fmt::format("--- {}\n+++ {}\n", before_name, after_name);
    add_hunk(out, std::span(lines).subspan(first, end - first), table);
    i = last;
  }
  return out;
}

}  // namespace monograph::dump
