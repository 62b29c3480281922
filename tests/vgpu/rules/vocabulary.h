// Words of rule tables that several vocabularies use, and the vocabularies themselves.
#pragma once

#include <span>
#include <utility>

#include "tests/vgpu/rules/interpreter.h"

namespace vgpu_rules {

using Words = std::vector<std::string>;
using Named = std::pair<const char*, Operation>;

std::span<const Named> stream_operations();
std::span<const Named> memory_operations();
std::span<const Named> graph_operations();

/// Removes an object from the rule's hands if the driver has destroyed it.
template <class T>
CUresult forget(std::map<std::string, T>& from, const std::string& name, CUresult result) {
  if (result == CUDA_SUCCESS) from.erase(name);
  return result;
}

}  // namespace vgpu_rules
