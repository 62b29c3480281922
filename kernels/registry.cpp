#include "kernels/registry.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace monograph::kernels {
namespace {

std::vector<Definition>& store() {
  static std::vector<Definition> all;
  return all;
}

}  // namespace

double Roofline::predicted_us(const Target& target) const noexcept {
  // Dense half-precision rate of an H100; kernels bound by arithmetic in fp32 say so themselves
  // by counting their operations 16-fold.
  constexpr double kFlopsPerUs = 989e6;
  return std::max(bytes / target.read_bytes_per_us, flops / kFlopsPerUs);
}

Registration::Registration(Definition definition) {
  auto& all = store();
  const auto at =
      std::lower_bound(all.begin(), all.end(), definition,
                       [](const Definition& a, const Definition& b) { return a.name < b.name; });
  if (at != all.end() && at->name == definition.name) {
    std::fprintf(stderr, "monograph: kernel '%s' is registered twice\n", definition.name.c_str());
    std::abort();
  }
  all.insert(at, std::move(definition));
}

const std::vector<Definition>& definitions() {
  return store();
}

const Definition* find_definition(std::string_view name) noexcept {
  for (const Definition& d : store()) {
    if (d.name == name) return &d;
  }
  return nullptr;
}

Match select(const Call& call, const Target& target) {
  std::vector<const Definition*> candidates;
  for (const Definition& d : store()) {
    if (std::find(d.ops.begin(), d.ops.end(), call.op) != d.ops.end()) candidates.push_back(&d);
  }
  std::stable_sort(
      candidates.begin(), candidates.end(),
      [](const Definition* a, const Definition* b) { return a->priority > b->priority; });
  std::string reasons;
  for (const Definition* d : candidates) {
    Match m = d->match(call, target);
    if (m.instance) {
      m.instance->kernel = d->name;
      m.reason = reasons.empty() ? d->name : d->name + " (" + reasons + ")";
      return m;
    }
    reasons += (reasons.empty() ? "" : "; ") + d->name + ": " + m.reason;
  }
  return Match::no(reasons.empty() ? "no kernel for " + call.op : reasons);
}

}  // namespace monograph::kernels
