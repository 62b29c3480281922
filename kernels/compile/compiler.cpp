#include "kernels/compile/compiler.h"

#include <monograph/error.h>
#include <monograph/version.h>

#include <atomic>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "kernels/compile/cache.h"
#include "kernels/compile/digest.h"
#include "kernels/compile/source.h"

namespace monograph::kernels {
namespace {

/// The error that is being handled, as one about `node`.
std::exception_ptr at_node(const std::string& node) {
  try {
    throw;
  } catch (const Error& e) {
    return std::make_exception_ptr(Error(e.code(), e.message(), node, e.driver_text()));
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace

std::string cache_key(const Instance& instance, const std::string& arch,
                      const Toolchain& toolchain) {
  Digest digest;
  digest.add(MONOGRAPH_VERSION_STRING).add(toolchain.name).add(toolchain.version).add(arch);
  digest.add(instance.entry);
  const SourceSet set = source_set(instance);
  digest.add(set.name).add(set.text);
  for (const auto& [name, text] : set.headers) digest.add(name).add(*text);
  for (const auto& [name, value] : instance.constants) digest.add(name).add(value);
  // Occupancy figures are stored with the image and depend on the launch shape.
  const Geometry& g = instance.geometry;
  digest.add(std::to_string(g.block[0]) + "," + std::to_string(g.block[1]) + "," +
             std::to_string(g.block[2]) + "," + std::to_string(g.dynamic_shared_bytes));
  return digest.hex();
}

Compiler::Compiler(std::string directory, int threads)
    : directory_(cache_directory(directory)), threads_(threads < 1 ? 1 : threads) {}

Compiled Compiler::compile(const Instance& instance, const std::string& arch) const {
  const Toolchain& toolchain = find_toolchain(arch);
  const std::string key = cache_key(instance, arch, toolchain);
  if (!directory_.empty()) {
    if (auto hit = cache_read(directory_, key)) return std::move(*hit);
  }
  Compiled compiled = toolchain.compile(instance, arch);
  if (!directory_.empty()) cache_write(directory_, key, compiled);
  return compiled;
}

std::vector<Compiled> Compiler::compile(const std::vector<const Instance*>& instances,
                                        const std::string& arch,
                                        const std::vector<std::string>& nodes) const {
  const Toolchain& toolchain = find_toolchain(arch);
  std::map<std::string, std::size_t> first;  // key -> index of the distinct instance
  std::vector<std::size_t> distinct;
  std::vector<std::size_t> which(instances.size());
  for (std::size_t i = 0; i < instances.size(); ++i) {
    const auto [it, added] =
        first.emplace(cache_key(*instances[i], arch, toolchain), distinct.size());
    if (added) distinct.push_back(i);
    which[i] = it->second;
  }
  std::vector<Compiled> built(distinct.size());
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    for (std::size_t i = next++; i < distinct.size(); i = next++) {
      try {
        built[i] = compile(*instances[distinct[i]], arch);
      } catch (...) {
        const std::lock_guard lock(mutex);
        const bool named = distinct[i] < nodes.size();
        if (!failure) failure = named ? at_node(nodes[distinct[i]]) : std::current_exception();
        next = distinct.size();
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (int t = 1; t < threads_ && static_cast<std::size_t>(t) < distinct.size(); ++t) {
      helpers.emplace_back(work);
    }
    work();
  }
  if (failure) std::rethrow_exception(failure);
  std::vector<Compiled> out;
  out.reserve(instances.size());
  for (const std::size_t w : which) out.push_back(built[w]);
  return out;
}

}  // namespace monograph::kernels
