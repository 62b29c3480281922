// Parts of graphs compute what they computed within the whole.
#include "runtime/inspect/extract.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "capture/ir/analysis.h"
#include "capture/ir/text.h"
#include "capture/trace/interpreter.h"
#include "runtime/inspect/compare.h"
#include "tests/inspect/support.h"

namespace monograph::inspect {
namespace {

using test::Tensors;

/// A network with views, in-place writes, a list taken apart and a weight that is used twice.
Subject mixed() {
  const at::Tensor w = at::randn({8, 8});
  return record(
      [w](const Tensors& in) -> Tensors {
        const at::Tensor a = at::linear(in[0], w);
        at::Tensor b = at::relu(a);
        b.add_(in[0]);
        const auto parts = at::split(b, 4, 1);
        const at::Tensor c = at::cat({parts[1], parts[0]}, 1);
        const at::Tensor d = at::matmul(c.t(), at::tanh(c));
        return {at::linear(d, w).transpose(0, 1), b.sum({1})};
      },
      {at::randn({8, 8})}, {{"w", w, false}});
}

TEST(Extract, WholeGraphGivesTheSameResults) {
  const Subject s = mixed();
  const Subject part = extract(s, calls_of(s.graph));
  EXPECT_EQ(difference(trace::interpret(part.graph, part.weights, part.inputs),
                       trace::interpret(s.graph, s.weights, s.inputs), {0, 0}),
            std::nullopt);
}

std::vector<std::string> names_of_outputs(const ir::Graph& graph) {
  std::vector<std::string> names;
  for (const ir::Node* node : ir::output_leaves(graph)) names.push_back(node->name());
  return names;
}

/// The tensors of these names at the end of the whole graph.
Tensors values_in(const Subject& s, const std::vector<std::string>& names) {
  ir::Graph whole = s.graph.clone();
  ir::Arg::List wanted;
  for (const std::string& name : names) wanted.emplace_back(whole.find(name));
  whole.set_args(whole.output_node(), {ir::Arg(std::move(wanted))}, {});
  return trace::interpret(whole, s.weights, s.inputs);
}

/// True if a call at `from` or later writes the memory of this node: its value at the end is
/// another.
bool written_from(const ir::Graph& graph, const std::vector<const ir::Node*>& calls,
                  std::size_t from, const std::string& name) {
  const ir::StorageId storage = graph.find(name)->storage();
  return std::any_of(calls.begin() + static_cast<std::ptrdiff_t>(from), calls.end(),
                     [storage](const ir::Node* call) {
                       return std::ranges::any_of(call->writes(), [storage](const ir::Node* n) {
                         return n->storage() == storage;
                       });
                     });
}

/// Every contiguous run of calls: either it can't stand alone, or each of its outputs has the value
/// it had within the whole.
TEST(Extract, EveryRangeComputesWhatItDidBefore) {
  const Subject s = mixed();
  const auto calls = calls_of(s.graph);
  ASSERT_GE(calls.size(), 10U);
  int stood = 0;
  int compared = 0;
  for (std::size_t first = 0; first < calls.size(); ++first) {
    for (std::size_t end = first + 1; end <= calls.size(); ++end) {
      const std::vector<const ir::Node*> range(calls.begin() + static_cast<std::ptrdiff_t>(first),
                                               calls.begin() + static_cast<std::ptrdiff_t>(end));
      try {
        const Subject part = extract(s, range);
        ++stood;
        const auto got = trace::interpret(part.graph, part.weights, part.inputs);
        const auto expected = values_in(s, names_of_outputs(part.graph));
        for (std::size_t i = 0; i < got.size(); ++i) {
          if (written_from(s.graph, calls, end, names_of_outputs(part.graph)[i])) continue;
          EXPECT_EQ(difference({got[i]}, {expected[i]}, {0, 0}), std::nullopt)
              << first << ".." << end << "\n"
              << ir::text(part.graph);
          ++compared;
        }
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), Code::kInvalidGraph) << first << ".." << end << ": " << e.what();
      }
    }
  }
  EXPECT_GT(stood, 30);
  EXPECT_GT(compared, 60);
}

TEST(Extract, RefusesWhatCantStandAlone) {
  const Subject s = mixed();
  for (const ir::Node* call : calls_of(s.graph)) {
    if (!call->is_call("aten.add_.Tensor")) continue;
    EXPECT_THROW(extract(s, {call}), Error);
    return;
  }
  ADD_FAILURE() << "no write in the graph";
}

}  // namespace
}  // namespace monograph::inspect
