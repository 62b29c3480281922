// Expectations that several test files of this room share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>

#include <optional>
#include <string>
#include <string_view>

#include "capture/ir/graph.h"
#include "capture/ir/text.h"

namespace monograph::ir::testing {

/// The Error that `fn` throws, or a failed test and nothing.
template <class Fn>
std::optional<Error> error_of(Fn fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "expected an Error, nothing was thrown";
  return std::nullopt;
}

/// Prints and parses `graph` and expects the same graph and the same text again.
inline void expect_round_trip(const Graph& graph) {
  const std::string printed = text(graph);
  const Graph parsed = parse(printed);
  std::string why;
  EXPECT_TRUE(same(graph, parsed, &why)) << why << "\n" << printed;
  EXPECT_EQ(text(parsed), printed);
}

inline TensorType f32(std::vector<std::int64_t> sizes) {
  return TensorType::contiguous(DType::kF32, std::move(sizes));
}

}  // namespace monograph::ir::testing
