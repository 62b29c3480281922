// Text of the Python form. That it computes the right thing is python_form.py's to check.
#include "capture/ir/python.h"

#include "tests/ir/expect.h"

namespace monograph::ir {
namespace {

using testing::error_of;
using testing::f32;
using ::testing::HasSubstr;
using ::testing::Not;

/// The script of a graph with input %x and the given lines.
std::string script(const std::string& lines) {
  return python(parse("graph g {\n%x : f32[2] = placeholder[target=x]\n" + lines + "\n}"));
}

std::string call(const std::string& target, const std::string& args, const std::string& kwargs) {
  return script("%y : f32[2] = call_function[target=" + target + "](args = (" + args +
                "), kwargs = {" + kwargs + "})");
}

TEST(Python, WritesOneStatementPerNode) {
  const std::string s = script(R"(
  %w : f32[2] = get_attr[target=fc.weight, kind=parameter]
  %a : f32[2] = call_function[target=aten.add.Tensor](args = (%x, %w), kwargs = {alpha: 2}) in "enc.0" at "m.cpp:3"
  %b : f32[2]{alias=%a} = call_function[target=aten.relu_.default, writes=(%a,)](args = (%a,), kwargs = {}) in "enc.0"
  %s : (f32[1]{alias=%a}, f32[1]{offset=1, alias=%a}) = call_function[target=aten.split.Tensor](args = (%b, 1), kwargs = {})
  %i : f32[1]{offset=1, alias=%a} = call_function[target=operator.getitem](args = (%s, 1), kwargs = {})
  %n = call_function[target=my.print.default](args = (%i,), kwargs = {})
  return (%i, [%b, None]))");
  EXPECT_THAT(s, HasSubstr(R"(
def forward(weights, x):
    # graph "g"
    w = weights["fc.weight"]  # f32[2]
    # in "enc.0"
    a = torch.ops.aten.add.Tensor(x, w, alpha=2)  # f32[2] at "m.cpp:3"
    b = torch.ops.aten.relu_.default(a);  a = None  # f32[2]
    # in ""
    s = torch.ops.aten.split.Tensor(b, 1)  # [f32[1], f32[1]{offset=1}]
    i = s[1];  s = None  # f32[1]{offset=1}
    torch.ops.my.print.default(i)
    return (i, [b, None])
)"));
}

TEST(Python, SpellsArguments) {
  EXPECT_THAT(
      call("my.op.out",
           R"(None, True, False, -3, 1.0, 1e-05, inf, -inf, nan, complex(1.0, nan), "a\"\nü")", ""),
      HasSubstr(R"(my.op.out(None, True, False, -3, 1.0, 1e-05, float("inf"), )"
                R"(float("-inf"), float("nan"), complex(1.0, float("nan")), )"
                R"("a\"\n\xfc"))"));
  EXPECT_THAT(call("my.op.out", "[%x, [1, 2], []]",
                   "dtype: torch.float16, layout: torch.strided, f: torch.channels_last"),
              HasSubstr("my.op.out([x, [1, 2], []], dtype=torch.float16, layout=torch.strided, "
                        "f=torch.channels_last)"));
  EXPECT_THAT(call("my.op.out", "torch.undefined", ""), HasSubstr("my.op.out(None)"));
}

TEST(Python, CallsWhatPythonCannotSpell) {
  EXPECT_THAT(call("aten.random_.from", "%x, 1", ""),
              HasSubstr("getattr(torch.ops.aten.random_, \"from\")(x, 1)"));
  EXPECT_THAT(call("aten.uniform_.default", "%x", "from: 1.0, to: 2.0, \"a b\": 3"),
              HasSubstr("uniform_.default(x, to=2.0, **{\"from\": 1.0, \"a b\": 3})"));
  EXPECT_THAT(call("aten.__and__.Tensor", "%x, %x", ""), HasSubstr("aten.__and__.Tensor(x, x)"));
}

TEST(Python, MakesValidDistinctNames) {
  Graph g("g");
  std::vector<Arg> all;
  for (const char* name : {"lambda", "lambda_", "None", "torch", "weights", "DEVICE", "float",
                           "forward", "fusion_f", "__debug__"}) {
    all.emplace_back(g.placeholder(name, f32({1})));
  }
  g.output(all);
  Graph f("f");
  f.output({});
  g.add_subgraph("f", std::move(f));
  EXPECT_THAT(python(g), HasSubstr("(lambda_, lambda__1, None_, torch_, weights_, DEVICE_, float_, "
                                   "forward_, fusion_f_1, __debug___)"));
}

TEST(Python, DefinesFusionsInnermostFirst) {
  const std::string s = script(R"(
  %y : (f32[2],) = call_function[target="fusion.a.b"](args = (%x,), kwargs = {})
  %z : f32[2] = call_function[target=fusion.a_b](args = (%x,), kwargs = {})
  return (%y, %z)
  subgraph a.b {
    %p : f32[2] = placeholder[target=p]
    %q : f32[2] = call_function[target=fusion.inner](args = (%p,), kwargs = {})
    return ([%q],)
    subgraph inner { %r : f32[2] = placeholder[target=r] return (%r,) }
  }
  subgraph a_b { %p : f32[2] = placeholder[target=p] return (%p,) }
)");
  EXPECT_THAT(s, HasSubstr(R"(
def fusion_inner(weights, r):
    # graph "inner"
    return (r,)


def fusion_a_b(weights, p):
    # graph "a.b"
    q = fusion_inner(weights, p)[0]  # f32[2]
    return (q,)


def fusion_a_b_1(weights, p):
)"));
  EXPECT_THAT(s, HasSubstr("    y = fusion_a_b(weights, x)  # [f32[2]]\n"));
  EXPECT_THAT(s, HasSubstr("    z = fusion_a_b_1(weights, x)[0]  # f32[2]\n"));
}

TEST(Python, TabulatesWeightsAndInputsWithTheirMemory) {
  const std::string s = script(R"(
  %w : f32[2,3] = get_attr[target="fc \"w\"", kind=parameter]
  %t : bf16[3,2]{strides=[1,3], offset=2, bytes=64} = get_attr[target=t, kind=buffer]
  %v : bf16[]{offset=9, alias=%t} = get_attr[target=v, kind=buffer]
  %again : bf16[]{offset=9, alias=%t} = get_attr[target=v, kind=buffer]
  return ())");
  EXPECT_THAT(s, HasSubstr(R"(
WEIGHTS = {
    "fc \"w\"": Slot(torch.float32, (2, 3), (3, 1), 0, 0, 24),  # parameter
    "t": Slot(torch.bfloat16, (3, 2), (1, 3), 2, 1, 64),  # buffer, not row-major
    "v": Slot(torch.bfloat16, (), (), 9, 1, 64),  # buffer, in the memory of "t"
}
INPUTS = {
    "x": Slot(torch.float32, (2,), (1,), 0, 0, 8),
}
)"));
}

TEST(Python, NamesTheTracedDeviceOnce) {
  const std::string s = python(parse(R"(graph g {
  %h : i64[] = placeholder[target=h]
  %x : f32[2]{device=cuda:0} = placeholder[target=x]
  %y : f32[2]{device=cuda:0} = call_function[target=my.op.out](args = (device(type='cuda', index=0), device(type='cuda'), device(type='cuda', index=1), device(type='cpu')), kwargs = {})
  return (%y,)
})"));
  EXPECT_THAT(s, HasSubstr("\nDEVICE = torch.device(\"cuda:0\")\n"));
  EXPECT_THAT(s, HasSubstr("out(DEVICE, DEVICE, torch.device(\"cuda:1\"), torch.device(\"cpu\"))"));
  EXPECT_THAT(s, HasSubstr("\"h\": Slot(torch.int64, (), (), 0, 0, 8, torch.device(\"cpu\")),"));
  EXPECT_THAT(s, HasSubstr("\"x\": Slot(torch.float32, (2,), (1,), 0, 1, 8),"));
  EXPECT_THAT(call("my.op.out", "device(type='cpu'), device(type='cuda')", ""),
              HasSubstr("out(DEVICE, torch.device(\"cuda\"))"));
}

TEST(Python, LetsNoTextEscape) {
  Graph g("g\nimport os");
  Node* x = g.placeholder("x\"\nimport os", f32({1}));
  Node* w = g.get_attr("w\"]\nimport os", f32({1}), StorageKind::kParameter);
  Node* y = g.call("aten.add.Tensor", {x, w, "\nimport os"}, {{"k=1)\nimport os#", 1}},
                   Results::tensor(f32({1})));
  y->module_path = "m\nimport os\r\nimport os";
  y->source = "s\nimport os";
  g.output({y});
  g.add_subgraph("f\nimport os", Graph("f")).output({});
  const std::string s = python(g, {"file\"\nimport os"});
  EXPECT_THAT(s, Not(HasSubstr("\nimport os")));
  EXPECT_THAT(s, Not(HasSubstr("\r")));
}

TEST(Python, RefusesWhatHasNoPythonForm) {
  for (const char* target : {"aten.relu", "aten.relu.default.x", "relu", "aten..default"}) {
    const auto error = error_of([&] { (void)call(target, "%x", ""); });
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), Code::kInvalidGraph);
    EXPECT_EQ(error->node(), "y");
  }
  for (const auto& [target, args] :
       {std::pair("fusion.f", "%x"), {"operator.getitem", "%x"}, {"my.op.out", "torch.other"}}) {
    const auto error = error_of([&, t = target, a = args] { (void)call(t, a, ""); });
    ASSERT_TRUE(error) << target;
    EXPECT_EQ(error->node(), "y");
  }
}

}  // namespace
}  // namespace monograph::ir
