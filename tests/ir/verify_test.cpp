// One broken graph per rule; each error names the node and the rule.
#include "capture/ir/verify.h"

#include <limits>

#include "tests/ir/expect.h"

namespace monograph::ir {
namespace {

using testing::error_of;
using testing::f32;
using ::testing::HasSubstr;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

void expect_invalid(const Graph& graph, const std::string& node, const std::string& message) {
  const auto error = error_of([&] { verify(graph); });
  ASSERT_TRUE(error) << text(graph);
  EXPECT_EQ(error->code(), Code::kInvalidGraph);
  EXPECT_EQ(error->node(), node);
  EXPECT_THAT(error->message(), HasSubstr(message));
}

/// The error of a graph that starts with input %x, weight %w, state %st, intermediate %a and the
/// list %s, goes on with `lines` and, unless these do so, returns.
void expect_invalid(const std::string& lines, const std::string& node, const std::string& message) {
  std::string source = R"(graph g {
  %x : f32[2,3] = placeholder[target=x]
  %w : f32[3] = get_attr[target=w, kind=parameter]
  %st : f32[3] = get_attr[target=st, kind=state]
  %a : f32[2,3] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
  %s : (f32[2], undefined) = call_function[target=my.split.default](args = (%x,), kwargs = {})
)" + lines;
  if (lines.find("return (") == std::string::npos) source += "\nreturn (%a,)";
  expect_invalid(parse(source + "\n}"), node, message);
}

std::string call(const std::string& result, const std::string& target, const std::string& args,
                 const std::string& writes = {}) {
  return "%y" + result + " = call_function[target=" + target +
         (writes.empty() ? "" : ", writes=(" + writes + ",)") + "](args = (" + args +
         "), kwargs = {})";
}

/// A graph of one input, one call and an output, to be broken through its interface.
struct Small {
  Graph graph{"g"};
  Node* x = graph.placeholder("x", f32({2, 3}));
  Node* y = graph.call("aten.relu.default", {x}, {}, Results::tensor(f32({2, 3})));
  Node* out = graph.output({y});

  /// Puts `type` in a storage of 1000 bytes as the call's result.
  void result(TensorType type) {
    const StorageId id = graph.add_storage(StorageKind::kIntermediate, "", 1000);
    graph.set_values(y, Results::tensor(std::move(type), id));
  }
};

TEST(Verify, AcceptsASoundGraph) {
  EXPECT_NO_THROW(verify(Small().graph));
}

TEST(Verify, WantsPlaceholdersFirst) {
  expect_invalid("%late : f32[1] = placeholder[target=late]", "late", "before all other nodes");
}

TEST(Verify, WantsOneOutputAtTheEnd) {
  expect_invalid("return (%a,)\n" + call(": f32[2,3]", "aten.relu.default", "%a"), "y",
                 "comes after the output");
  Small s;
  s.graph.erase(s.out);
  expect_invalid(s.graph, "", "graph \"g\" has no output");
}

TEST(Verify, WantsArgumentsBeforeTheirUsers) {
  Small s;
  Node* z = s.graph.call("aten.neg.default", {s.y}, {}, Results::tensor(f32({2, 3})));
  s.graph.move_before(z, s.y);
  expect_invalid(s.graph, "neg", "isn't a node that comes before this one in this graph");
}

TEST(Verify, WantsArgumentsOfTheSameGraph) {
  Small s;
  Small other;
  s.graph.set_args(s.y, {Arg::List{other.x}}, {});
  expect_invalid(s.graph, "relu", "isn't a node that comes before this one in this graph");
}

TEST(Verify, WantsUsersToAgree) {
  // A node of another graph that uses %x is a user that this graph doesn't know.
  Small s;
  Small other;
  other.graph.set_args(other.y, {other.x, s.x}, {});
  expect_invalid(s.graph, "x", "list of users doesn't agree");
  other.graph.set_args(other.y, {other.x}, {});
  EXPECT_NO_THROW(verify(s.graph));
}

TEST(Verify, WantsWellFormedTargets) {
  for (const char* target : {"relu", "aten.relu", "aten.relu.default.x", "aten..default",
                             "aten.re-lu.default", ".relu.default", "aten.relu.", "operator.add"}) {
    Small s;
    s.graph.set_target(s.y, target);
    expect_invalid(s.graph, "relu", "none of ns.op.overload, operator.getitem, fusion.NAME");
  }
  Small s;
  s.graph.set_target(s.y, "");
  expect_invalid(s.graph, "relu", "1 to 4096 bytes");
  s.graph.set_target(s.y, "aten.relu." + std::string(4096, 'x'));
  expect_invalid(s.graph, "relu", "1 to 4096 bytes");
  s.graph.set_target(s.y, "fusion.f");
  expect_invalid(s.graph, "relu", "there is no subgraph \"f\"");
  s.graph.set_target(s.y, "aten.relu.default");
  s.graph.set_target(s.out, "result");
  expect_invalid(s.graph, "output", "must be \"output\"");
}

TEST(Verify, WantsArgumentsAndResultsOnlyWhereTheyBelong) {
  Small s;
  s.graph.set_args(s.x, {1}, {});
  expect_invalid(s.graph, "x", "a placeholder has no args");
  s.graph.set_args(s.x, {}, {{"k", 1}});
  expect_invalid(s.graph, "x", "has no kwargs");
  s.graph.set_args(s.x, {}, {});
  s.graph.set_args(s.out, {s.y}, {{"k", 1}});
  expect_invalid(s.graph, "output", "has no kwargs");
  s.graph.set_args(s.out, {s.y}, {});
  s.graph.set_values(s.out, Results::list({}));
  expect_invalid(s.graph, "output", "an output has no result");
  s.graph.set_values(s.out, Results::none());
  s.graph.set_values(s.x, Results::tensor(TensorType{}));
  expect_invalid(s.graph, "x", "must have one defined tensor");
  s.graph.set_values(s.x, Results::list({}));
  expect_invalid(s.graph, "x", "must have one defined tensor");
  Small several;
  several.graph.set_values(several.y, {{{f32({1}), kNoStorage}, {f32({1}), kNoStorage}}, false});
  expect_invalid(several.graph, "relu", "must return a list");
}

TEST(Verify, WantsKeywordsOnce) {
  Small s;
  s.graph.set_args(s.y, {s.x}, {{"k", 1}, {"j", 1}, {"k", 2}});
  expect_invalid(s.graph, "relu", "keyword \"k\" is given twice");
  s.graph.set_args(s.y, {s.x}, {{"", 1}});
  expect_invalid(s.graph, "relu", "a keyword is empty");
}

TEST(Verify, BoundsNesting) {
  Small s;
  Arg nested;
  for (int i = 0; i < 64; ++i) nested = Arg::List{nested};
  s.graph.set_args(s.y, {s.x, nested}, {});
  EXPECT_NO_THROW(verify(s.graph));
  s.graph.set_args(s.y, {s.x, Arg::List{nested}}, {});
  expect_invalid(s.graph, "relu", "more than 64 nested lists");
}

TEST(Verify, WantsSoundSizesAndStrides) {
  Small s;
  s.result({DType::kF32, {2, 3}, {3}, 0, {}});
  expect_invalid(s.graph, "relu", "2 sizes and 1 strides");
  s.result({DType::kF32, {2, -3}, {3, 1}, 0, {}});
  expect_invalid(s.graph, "relu", "a size is negative");
  s.result({DType::kF32, {2, 3}, {3, -1}, 0, {}});
  expect_invalid(s.graph, "relu", "a stride is negative");
  s.result({DType::kF32, {2, 3}, {3, 1}, -1, {}});
  expect_invalid(s.graph, "relu", "an offset is negative");
  s.result({DType::kF32, {kMax, kMax}, {0, 0}, 0, {}});
  expect_invalid(s.graph, "relu", "64 bits can't count");
  s.result({DType::kF32, {0, kMax, kMax}, {0, 0, 0}, 0, {}});
  expect_invalid(s.graph, "relu", "64 bits can't count");
  s.result({DType::kF32, {3}, {kMax}, 0, {}});
  expect_invalid(s.graph, "relu", "64 bits can't count");
  s.result({DType::kF32, {1}, {1}, kMax, {}});
  expect_invalid(s.graph, "relu", "64 bits can't count");
}

TEST(Verify, WantsResultsInsideTheirStorage) {
  Small s;
  s.result({DType::kF32, {250}, {1}, 0, {}});
  EXPECT_NO_THROW(verify(s.graph));
  s.result({DType::kF32, {250}, {1}, 1, {}});
  expect_invalid(s.graph, "relu", "f32[250]{offset=1} ends at byte 1004 of a storage of 1000");
  s.result({DType::kF32, {2}, {1}, 0, {DeviceType::kCuda, 0}});
  expect_invalid(s.graph, "relu", "lives in a storage on cpu");
}

TEST(Verify, WantsStoragesDefinedByTheRightNode) {
  expect_invalid(call(": f32[1]{kind=parameter, storage=p}", "a.b.c", ""), "y",
                 "the parameter storage \"p\" is used before a placeholder or get_attr defines it");
  expect_invalid(call(": f32[1]{kind=input, storage=p}", "a.b.c", ""), "y", "input storage \"p\"");
  expect_invalid("%y : f32[1] = get_attr[target=y, kind=input]", "y",
                 "a get_attr reads the input storage \"y\"");
  expect_invalid("%y : f32[1] = get_attr[target=y, kind=intermediate]", "y",
                 "a get_attr reads the intermediate storage \"y\"");
  expect_invalid("%y : f32[1]{alias=%a} = get_attr[target=y]", "y",
                 "a get_attr reads the intermediate storage");
  Small kind;
  kind.graph.set_storage_kind(kind.x->storage(), StorageKind::kBuffer);
  expect_invalid(kind.graph, "x", "a placeholder defines the buffer storage \"x\"");
  Small shared;
  Node* second = shared.graph.placeholder("second", f32({2, 3}));
  shared.graph.move_before(second, shared.y);
  EXPECT_NO_THROW(verify(shared.graph));
  shared.graph.set_values(second, Results::tensor(f32({2, 3}), shared.x->storage()));
  expect_invalid(shared.graph, "second", "shares a storage with an earlier node");
}

TEST(Verify, WantsStoragesDefinedBeforeTheirAliases) {
  Graph g("g");
  Node* w = g.get_attr("w", f32({2}), StorageKind::kParameter);
  Node* y = g.call("a.b.c", {}, {}, Results::tensor(f32({2}), w->storage()));
  g.output({y});
  EXPECT_NO_THROW(verify(g));
  g.move_before(w, nullptr);
  g.move_before(g.output_node(), nullptr);
  expect_invalid(g, "b", "the parameter storage \"w\" is used before");
}

TEST(Verify, WantsOneMeaningPerWeightAndInputName) {
  expect_invalid("%y : f32[3] = get_attr[target=w, kind=parameter]", "y",
                 "%w reads another tensor by the name \"w\"");
  Small s;
  Node* second = s.graph.placeholder("second", f32({2, 3}));
  s.graph.move_before(second, s.y);
  s.graph.set_target(second, "x");
  expect_invalid(s.graph, "second", "two placeholders have the target \"x\"");
}

TEST(Verify, WantsGetitemToMatchItsList) {
  const auto getitem = [](const std::string& result, const std::string& args) {
    return call(result, "operator.getitem", args);
  };
  const std::string good = " : f32[2]{alias=%s#0}";
  EXPECT_NO_THROW(
      verify(parse("graph g { %s : (f32[2]) = call_function[target=a.b.c](args = (), "
                   "kwargs = {})" +
                   getitem(good, "%s, 0") + "return (%y,) }")));
  expect_invalid(getitem(good, "%s"), "y", "takes a list and an index");
  expect_invalid(getitem(good, "%s, 0.0"), "y", "takes a list and an index");
  expect_invalid(getitem(good, "[%s], 0"), "y", "takes a list and an index");
  expect_invalid(getitem(good, "%a, 0"), "y", "%a is no list");
  expect_invalid(getitem(good, "%s, 2"), "y", "index 2 is outside %s of length 2");
  expect_invalid(getitem(good, "%s, -1"), "y", "index -1 is outside %s of length 2");
  expect_invalid(getitem(good, "%s, 1"), "y", "differs from element 1 of %s, undefined");
  expect_invalid(getitem(" : f32[1]{alias=%s#0}", "%s, 0"), "y", "differs from element 0");
  expect_invalid(getitem(" : f32[2]", "%s, 0"), "y", "in type or storage");
  expect_invalid(getitem(" : (f32[2]{alias=%s#0})", "%s, 0"), "y", "differs from element 0");
}

TEST(Verify, AllowsWritesOnlyToIntermediatesAndState) {
  const auto write = [](const std::string& args, const std::string& writes) {
    return call("", "aten.zero_.default", args, writes);
  };
  for (const char* allowed : {"%a", "%st"}) {
    EXPECT_NO_THROW(
        verify(parse("graph g { %st : f32[3] = get_attr[target=st, kind=state] "
                     "%a : f32[2] = call_function[target=a.b.c](args=(),kwargs={}) " +
                     write("[" + std::string(allowed) + "]", allowed) + "return () }")));
  }
  expect_invalid(write("%a", "%w"), "y", "writes %w, which is no argument");
  expect_invalid(write("%x", "%x"), "y", "writes %x in the input storage \"x\"");
  expect_invalid(write("%w", "%w"), "y", "writes %w in the parameter storage \"w\"");
  expect_invalid(write("%s", "%s"), "y", "writes %s, which is undefined");
  expect_invalid(
      "%none = call_function[target=a.b.c](args = (), kwargs = {})\n" + write("%none", "%none"),
      "y", "writes %none, which has no tensor");
  for (const char* kind : {"buffer", "constant"}) {
    expect_invalid(
        "%k : f32[1] = get_attr[target=k, kind=" + std::string(kind) + "]\n" +
            "%v : f32[1]{alias=%k} = call_function[target=a.b.c](args = (%k,), kwargs = {})\n" +
            write("%v", "%v"),
        "y", "writes %v in the " + std::string(kind) + " storage \"k\"");
  }
  Small s;
  s.graph.set_writes(s.out, {s.y});
  expect_invalid(s.graph, "output", "only calls write");
}

TEST(Verify, WantsFusionsToMatchTheirSubgraphs) {
  const std::string sub = R"(
  subgraph f {
    %p : f32[2,3] = placeholder[target=p]
    %q : f32[3] = placeholder[target=q]
    %r : f32[2,3] = call_function[target=aten.add.Tensor](args = (%p, %q), kwargs = {})
    return (%r, [%q])
  })";
  const auto fusion = [&](const std::string& result, const std::string& args) {
    return call(result, "fusion.f", args) + sub;
  };
  const std::string good = " : (f32[2,3], f32[3])";
  expect_invalid(fusion(good, "%a"), "y", "has 1 arguments, its subgraph 2");
  expect_invalid(fusion(good, "%a, 1"), "y", "argument 1 of a fusion must be a tensor");
  expect_invalid(fusion(good, "%a, %s"), "y", "argument 1 of a fusion must be a tensor");
  expect_invalid(fusion(good, "%a, %a"), "y", "argument 1 is f32[2,3], in its subgraph f32[3]");
  expect_invalid(fusion(" : (f32[2,3])", "%a, %w"), "y", "has 1 results, its subgraph 2");
  expect_invalid(fusion(" : (f32[2,3], f64[3])", "%a, %w"), "y",
                 "result 1 is f64[3], in its subgraph f32[3]");
  expect_invalid(call(good, "fusion.f", "%a, %w") + "subgraph f { return (1, None) }", "y",
                 "has 2 arguments, its subgraph 0");
  expect_invalid(call("", "fusion.f", "") + "subgraph f { return (1,) }", "y",
                 "its subgraph returns 1, which is no tensor");
  Small s;
  s.graph.add_subgraph("f", parse("graph f { return () }"));
  s.graph.call("fusion.f", {}, {{"k", 1}}, Results::none());
  s.graph.move_before(s.out, nullptr);
  expect_invalid(s.graph, "f", "a fusion takes no kwargs");
}

TEST(Verify, ChecksSubgraphsAndSaysWhich) {
  expect_invalid(
      "subgraph outer { subgraph in.ner { %p : f32[1] = get_attr[target=p, kind=input] "
      "return () } return () }",
      "p", "in subgraph \"outer\": in subgraph \"in.ner\": a get_attr reads the input");
}

}  // namespace
}  // namespace monograph::ir
