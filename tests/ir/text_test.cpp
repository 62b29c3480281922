// Text form: exact spelling, and round trips of everything that a graph can hold.
#include "capture/ir/text.h"

#include <cmath>
#include <limits>

#include "capture/ir/verify.h"
#include "tests/ir/expect.h"

namespace monograph::ir {
namespace {

using testing::expect_round_trip;
using testing::f32;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

constexpr const char* kMlp = R"(graph mlp {
  %x : f32[1,64] = placeholder[target=x]
  %fc_weight : f32[64,32] = get_attr[target=fc.weight, kind=parameter]
  %t : f32[32,64]{strides=[1,32], alias=%fc_weight} = call_function[target=aten.t.default](args = (%fc_weight,), kwargs = {})
  %mm : f32[1,32] = call_function[target=aten.mm.default](args = (%x, %t), kwargs = {})
  %relu_ : f32[1,32]{alias=%mm} = call_function[target=aten.relu_.default, writes=(%mm,)](args = (%mm,), kwargs = {}) in "fc" at "mlp.cpp:7"
  %split : (f32[1,16]{strides=[32,1], alias=%mm}, f32[1,16]{strides=[32,1], offset=16, alias=%mm}) = call_function[target=aten.split.Tensor](args = (%relu_, 16), kwargs = {dim: 1})
  %getitem : f32[1,16]{strides=[32,1], offset=16, alias=%mm} = call_function[target=operator.getitem](args = (%split, 1), kwargs = {})
  %rand_like : f32[1,16] = call_function[target=aten.rand_like.default, traits=(random, nondeterministic)](args = (%getitem,), kwargs = {})
  return (%rand_like, [%getitem, None])
}
)";

/// A graph with one call that takes `arg`, positionally, nested and by keyword.
Graph with_argument(const Arg& arg) {
  Graph g("g");
  Node* x = g.placeholder("x", f32({2}));
  Node* y = g.call("aten.op.default", {x, arg, Arg::List{arg, Arg::List{}}}, {{"key", arg}},
                   Results::tensor(f32({2})));
  g.output({y});
  return g;
}

TEST(Text, PrintsAsFxDoesWithTypes) {
  Graph g("mlp");
  Node* x = g.placeholder("x", f32({1, 64}));
  Node* w = g.get_attr("fc.weight", f32({64, 32}), StorageKind::kParameter);
  TensorType transposed = f32({32, 64});
  transposed.strides = {1, 32};
  Node* t = g.call("aten.t.default", {w}, {}, Results::tensor(transposed, w->storage()));
  Node* mm = g.call("aten.mm.default", {x, t}, {}, Results::tensor(f32({1, 32})));
  Node* relu =
      g.call("aten.relu_.default", {mm}, {}, Results::tensor(f32({1, 32}), mm->storage()), {mm});
  relu->module_path = "fc";
  relu->source = "mlp.cpp:7";
  TensorType left = f32({1, 16});
  left.strides = {32, 1};
  TensorType right = left;
  right.offset = 16;
  Node* split = g.call("aten.split.Tensor", {relu, 16}, {{"dim", 1}},
                       Results::list({{left, mm->storage()}, {right, mm->storage()}}));
  Node* item = g.getitem(split, 1);
  Node* noise = g.call("aten.rand_like.default", {item}, {}, Results::tensor(f32({1, 16})));
  noise->traits = {true, true};
  g.output({noise, Arg::List{item, Arg()}});
  EXPECT_EQ(text(g), kMlp);
  expect_round_trip(g);
  verify(g);
  EXPECT_EQ(text(*item),
            "%getitem : f32[1,16]{strides=[32,1], offset=16, alias=%mm} = "
            "call_function[target=operator.getitem](args = (%split, 1), kwargs = {})");
}

TEST(Text, SpellsArgumentsSoThatTypesDiffer) {
  EXPECT_EQ(text(Arg()), "None");
  EXPECT_EQ(text(Arg(true)), "True");
  EXPECT_EQ(text(Arg(1)), "1");
  EXPECT_EQ(text(Arg(1.0)), "1.0");
  EXPECT_EQ(text(Arg(-0.0)), "-0.0");
  EXPECT_EQ(text(Arg(0.1)), "0.1");
  EXPECT_EQ(text(Arg(1e-5)), "1e-05");
  EXPECT_EQ(text(Arg(1e300)), "1e+300");
  EXPECT_EQ(text(Arg(kInf)), "inf");
  EXPECT_EQ(text(Arg(-kInf)), "-inf");
  EXPECT_EQ(text(Arg(kNaN)), "nan");
  EXPECT_EQ(text(Arg(std::complex<double>(1, -0.0))), "complex(1.0, -0.0)");
  EXPECT_EQ(text(Arg("none")), "\"none\"");
  EXPECT_EQ(text(Arg(DType::kBF16)), "torch.bfloat16");
  EXPECT_EQ(text(Arg(Device{DeviceType::kCuda, 1})), "device(type='cuda', index=1)");
  EXPECT_EQ(text(Arg(Device{})), "device(type='cpu')");
  EXPECT_EQ(text(Arg(Layout::kStrided)), "torch.strided");
  EXPECT_EQ(text(Arg(MemoryFormat::kChannelsLast)), "torch.channels_last");
  EXPECT_EQ(text(Arg(Arg::List{1, Arg::List{}, Arg::List{2.0}})), "[1, [], [2.0]]");
}

TEST(Text, EscapesWhatWouldConfuseAReader) {
  EXPECT_EQ(text(Arg("a\"b\\c\nd\te\r")), R"("a\"b\\c\nd\te\r")");
  EXPECT_EQ(text(Arg(std::string("nul\0bell\a", 9))), R"("nul\x00bell\x07")");
  EXPECT_EQ(text(Arg("größe 日本 🙂")), "\"größe 日本 🙂\"");
  EXPECT_EQ(text(Arg("\xff\xc3(")), R"("\xff\xc3(")") << "bytes that aren't UTF-8";
  EXPECT_EQ(text(Arg("a\xe2\x80\xae"
                     "b")),
            R"("a\xe2\x80\xaeb")")
      << "right-to-left override";
}

TEST(Text, RoundTripsEveryKindOfArgument) {
  const std::vector<Arg> all{Arg(),
                             true,
                             false,
                             0,
                             -1,
                             std::numeric_limits<std::int64_t>::max(),
                             std::numeric_limits<std::int64_t>::min(),
                             0.0,
                             -0.0,
                             1.0,
                             0.1,
                             1.0 / 3.0,
                             1e22,
                             5e-324,
                             std::numeric_limits<double>::max(),
                             kInf,
                             -kInf,
                             kNaN,
                             std::copysign(kNaN, -1.0),
                             std::nan("123"),
                             std::complex<double>(1.5, -2),
                             std::complex<double>(kNaN, -0.0),
                             std::complex<double>(-kInf, 1e-300),
                             "",
                             "none",
                             "it's \"quoted\"\n\\",
                             "größe 日本 🙂",
                             std::string("\0\xff\xfe\xc3\x28\xed\xa0\x80", 8),
                             "a\xe2\x80\xae",
                             "// no comment",
                             "%x",
                             Device{},
                             Device{DeviceType::kCpu, 0},
                             Device{DeviceType::kCuda, -1},
                             Device{DeviceType::kCuda, 7},
                             Device{DeviceType::kMeta, -1},
                             Layout::kStrided,
                             Layout::kSparse,
                             Layout::kOther,
                             MemoryFormat::kContiguous,
                             MemoryFormat::kPreserve,
                             MemoryFormat::kChannelsLast,
                             MemoryFormat::kChannelsLast3d,
                             Arg::List{},
                             Arg::List{Arg(), Arg::List{Arg::List{}, 1.0}, "x"}};
  for (const Arg& arg : all) expect_round_trip(with_argument(arg));
  for (int d = 0; d <= static_cast<int>(DType::kF8E5M2); ++d) {
    expect_round_trip(with_argument(static_cast<DType>(d)));
  }
}

TEST(Text, RoundTripsTypes) {
  for (int d = 1; d <= static_cast<int>(DType::kF8E5M2); ++d) {
    Graph g;
    TensorType type = TensorType::contiguous(static_cast<DType>(d), {2, 0, 1, 3});
    Node* x = g.placeholder("x", type);
    type = TensorType::contiguous(static_cast<DType>(d), {}, {DeviceType::kCuda, 3});
    type.offset = 5;
    Node* w = g.get_attr("w", type, StorageKind::kBuffer, 1000);
    type = TensorType::contiguous(static_cast<DType>(d), {1, 4}, {DeviceType::kMeta, -1});
    type.strides = {9, 1};  // contiguous, yet not the usual numbers
    Node* y = g.call("aten.op.default", {x, w}, {}, Results::tensor(type));
    g.output({y});
    verify(g);
    expect_round_trip(g);
  }
}

TEST(Text, RoundTripsResultsOfEveryShape) {
  Graph g;
  Node* x = g.placeholder("x", f32({4}));
  Node* none = g.call("aten.nothing.default", {x}, {}, Results::none());
  Node* empty = g.call("aten.empty_list.default", {x}, {}, Results::list({}));
  Node* one = g.call("aten.one.default", {x}, {}, Results::list({{f32({4}), kNoStorage}}));
  Node* undefined = g.call("aten.maybe.default", {x}, {}, Results::tensor(TensorType{}));
  const StorageId fresh = g.add_storage(StorageKind::kIntermediate, "", 16);
  Node* mixed = g.call("aten.mixed.default", {x}, {},
                       Results::list({{f32({4}), fresh},
                                      {TensorType{}, kNoStorage},
                                      {f32({2}), fresh},
                                      {f32({4}), kNoStorage},
                                      {f32({4}), x->storage()}}));
  Node* alias = g.call("aten.alias.default", {mixed}, {},
                       Results::tensor(f32({4}), mixed->values()[3].storage));
  g.output({one, empty, undefined, alias});
  verify(g);
  expect_round_trip(g);
  const std::string printed = text(g);
  EXPECT_NE(printed.find("%nothing = call_function"), std::string::npos) << printed;
  EXPECT_NE(printed.find("%empty_list : () ="), std::string::npos) << printed;
  EXPECT_NE(printed.find("%one : (f32[4],) ="), std::string::npos) << printed;
  EXPECT_NE(printed.find("(f32[4], undefined, f32[2]{alias=%mixed#0}, f32[4], f32[4]{alias=%x})"),
            std::string::npos)
      << printed;
  EXPECT_NE(printed.find("{alias=%mixed#3}"), std::string::npos) << printed;
  EXPECT_TRUE(none->values().empty());
}

TEST(Text, RoundTripsWeightsThatShareMemory) {
  Graph g;
  Node* table = g.get_attr("embed.weight", f32({8, 4}), StorageKind::kParameter, 256);
  TensorType head = f32({4, 8});
  head.strides = {1, 4};
  head.offset = 2;
  g.grow_storage(table->storage(), 1024);
  g.get_attr("head.weight", head, StorageKind::kParameter, -1, table->storage());
  g.get_attr("cache", f32({2}), StorageKind::kState);
  g.output({table});
  verify(g);
  expect_round_trip(g);
  EXPECT_NE(text(g).find("%embed_weight : f32[8,4]{bytes=1024} ="), std::string::npos) << text(g);
}

TEST(Text, RoundTripsTargetsThatDifferFromNames) {
  Graph g("a graph\nwith a name");
  Node* x = g.placeholder("in.0 \"quoted\"", f32({1}));
  g.rename(x, "renamed");
  Node* output = g.placeholder("output", f32({1}));
  Node* w = g.get_attr("0.weight", f32({1}), StorageKind::kConstant);
  g.set_target(w, "folded/3");
  Node* call = g.call("my_ns.op_2.out", {x, w, output}, {{"not an identifier", 1}},
                      Results::tensor(f32({1})), {}, "class");
  g.output({call});
  EXPECT_EQ(g.output_node()->name(), "output_1");
  verify(g);
  expect_round_trip(g);
}

TEST(Text, RoundTripsNamesInAnyOrderOfSuffixes) {
  Graph g;
  for (const char* name : {"w", "x", "x_1", "x_1_1", "w_2"}) g.placeholder(name, f32({1}));
  g.rename(g.find("x"), "x_7");
  g.rename(g.find("w"), "x");
  g.output({});
  expect_round_trip(g);
}

TEST(Text, RoundTripsSubgraphs) {
  const auto make = [](const std::string& name) {
    Graph s(name);
    Node* a = s.placeholder("a", f32({2}));
    s.output({s.call("aten.relu.default", {a}, {}, Results::tensor(f32({2})))});
    return s;
  };
  Graph inner = make("inner");
  inner.add_subgraph("deeper", make("deeper"));
  Graph g("outer");
  Node* x = g.placeholder("x", f32({2}));
  g.add_subgraph("pointwise 0", std::move(inner));
  g.add_subgraph("b", make("b")).set_name("other");
  Node* call = g.call("fusion.pointwise 0", {x}, {}, Results::tensor(f32({2})));
  g.output({call});
  verify(g);
  expect_round_trip(g);
}

TEST(Text, RoundTripsAnUnfinishedGraph) {
  expect_round_trip(Graph("empty"));
  Graph g;
  Node* x = g.placeholder("x", f32({2}));
  g.output({x});
  g.call("aten.late.default", {x}, {}, Results::tensor(f32({2})));
  expect_round_trip(g);
}

TEST(Text, ReadsHandWrittenForms) {
  const Graph g = parse(R"(// a comment
    graph hand{%x:f32[2]=placeholder[target=x]// another
      %y : f32[2]{alias=%x, strides=[1]} = call_function[target=aten.relu.default](args=(%x),kwargs={})
      return(%y) in "m" at "f.cpp:1"})");
  EXPECT_EQ(g.name(), "hand");
  EXPECT_EQ(g.find("y")->storage(), g.find("x")->storage());
  EXPECT_EQ(g.output_node()->source, "f.cpp:1");
}

TEST(Same, NamesTheFirstDifference) {
  const std::string base = R"(graph g {
  %x : f32[2] = placeholder[target=x]
  %w : f32[2] = get_attr[target=w, kind=parameter]
  %a : f32[2] = call_function[target=aten.add.Tensor](args = (%x, [1, %w]), kwargs = {alpha: 1.0}) in "m" at "s"
  %b : f32[2]{alias=%a} = call_function[target=aten.relu_.default, writes=(%a,)](args = (%a,), kwargs = {})
  return (%b,)
  subgraph f {
    return ()
  }
}
)";
  const Graph g = parse(base);
  const std::vector<std::array<std::string, 3>> changes{
      {"graph g", "graph h", "graph name: \"g\" against \"h\""},
      {"target=x]", "target=y]", "%x: target"},
      {"kind=parameter", "kind=buffer", "%w: storage kind: parameter against buffer"},
      {"w : f32[2] =", "w : f32[2]{bytes=64} =", "%w: storage bytes: 8 against 64"},
      {"w : f32[2] =", "w : f32[2]{storage=v} =", "%w: storage name: \"w\" against \"v\""},
      {"[1, %w]", "[1, %x]", "%a: args: %w against %x"},
      {"[1, %w]", "[1.0, %w]", "%a: args: 1 against 1.0"},
      {"[1, %w]", "[1]", "%a: args in number: 2 against 1"},
      {"alpha: 1.0", "alpha: -1.0", "%a: kwarg alpha: 1.0 against -1.0"},
      {"alpha: 1.0", "beta: 1.0", "%a: kwarg: \"alpha\" against \"beta\""},
      {"{alpha: 1.0}", "{}", "%a: number of kwargs: 1 against 0"},
      {"in \"m\"", "in \"n\"", "%a: module path"},
      {"at \"s\"", "", "%a: source"},
      {"%b : f32[2]{alias=%a}", "%b : f32[2]", "%b: alias"},
      {"%b : f32[2]{alias=%a}", "%b : f32[1]{alias=%a}", "%b: type: f32[2] against f32[1]"},
      {"%b : f32[2]{alias=%a}", "%b : f32[2]{alias=%x}", "%b: alias"},
      {"%b : f32[2]{alias=%a}", "%b : (f32[2]{alias=%a})", "%b: is a list"},
      {"%b : f32[2]{alias=%a}", "%b", "%b: number of results: 1 against 0"},
      {", writes=(%a,)", "", "%b: writes in number: 1 against 0"},
      {", writes=(%a,)", ", writes=(%a,), traits=(random,)", "%b: traits"},
      {"return (%b,)", "return (%a,)", "%output: args: %b against %a"},
      {"return (%b,)", "return (%b, None)", "%output: args in number"},
      {"return (%b,)\n", "", "number of nodes: 5 against 4"},
      {"return ()", "", "subgraph \"f\": number of nodes"},
      {"subgraph f", "subgraph e", "subgraph: \"f\" against \"e\""}};
  for (const auto& [from, to, expected] : changes) {
    std::string changed = base;
    const std::size_t at = changed.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    std::string why;
    EXPECT_FALSE(same(g, parse(changed), &why)) << changed;
    EXPECT_THAT(why, ::testing::HasSubstr(expected));
  }
  EXPECT_TRUE(same(g, parse(base)));
}

TEST(Same, IgnoresStorageNumbers) {
  const auto build = [](bool waste) {
    Graph g;
    Node* x = g.placeholder("x", f32({2}));
    if (waste) g.add_storage(StorageKind::kIntermediate, "", 99);
    g.output({g.call("aten.relu.default", {x}, {}, Results::tensor(f32({2})))});
    return g;
  };
  EXPECT_TRUE(same(build(false), build(true)));
}

}  // namespace
}  // namespace monograph::ir
