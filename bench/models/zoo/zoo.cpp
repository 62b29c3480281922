#include "bench/models/zoo/zoo.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace monograph::bench {
namespace {

std::vector<ModelEntry>& entries() {
  static std::vector<ModelEntry> all;
  return all;
}

}  // namespace

RegisterModel::RegisterModel(const ModelEntry& entry) {
  auto& all = entries();
  const auto place = std::lower_bound(all.begin(), all.end(), entry.name,
                                      [](const ModelEntry& e, auto name) { return e.name < name; });
  if (place != all.end() && place->name == entry.name) {
    std::fputs("two models have the same name\n", stderr);
    std::abort();
  }
  all.insert(place, entry);
}

const std::vector<ModelEntry>& models() {
  return entries();
}

const ModelEntry& find_model(std::string_view name) {
  std::string names;
  for (const ModelEntry& entry : entries()) {
    if (entry.name == name) return entry;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", entry.name);
  }
  throw Error(Code::kInvalidOption,
              fmt::format("no model is called '{}'; there are {}", name, names));
}

}  // namespace monograph::bench
