// The parser's refusals: each says where it stands and what it wanted.
#include <string>

#include "tests/ir/expect.h"

namespace monograph::ir {
namespace {

using testing::error_of;
using ::testing::HasSubstr;

void expect_error(const std::string& source, const std::string& message) {
  const auto error = error_of([&] { (void)parse(source); });
  ASSERT_TRUE(error) << source;
  EXPECT_EQ(error->code(), Code::kInvalidGraph);
  EXPECT_THAT(error->message(), HasSubstr(message)) << source;
}

/// `line` after two lines that define %x, %w and the list %s, so its errors are on line 4.
void expect_line_error(const std::string& line, const std::string& message) {
  expect_error(
      "graph g {\n  %x : f32[2] = placeholder[target=x]\n"
      "%s : (f32[2], undefined) = call_function[target=a.b.c](args=(%x,), kwargs={})\n" +
          line + "\n}\n",
      message);
}

std::string call(const std::string& arg) {
  return "%y : f32[2] = call_function[target=a.b.c](args = (" + arg + ",), kwargs = {})";
}

TEST(Parse, SaysLineAndColumn) {
  expect_error("", "line 1, column 1: expected 'graph', found the end of the text");
  expect_error("graf g {}", "line 1, column 1: expected 'graph', found 'graf'");
  expect_error("graph g {",
               "line 1, column 10: expected '%', 'return', 'subgraph' or '}', found "
               "the end of the text");
  expect_error("graph g {} x", "line 1, column 12: expected the end of the text, found 'x'");
  expect_error("// c\n\n  graph \n  {}", "line 4, column 3: expected a graph's name, found '{'");
  expect_line_error("  %x : f32[2] = placeholder[target=y]", "line 4, column 3: %x is defined");
  expect_line_error(call("%z"), "line 4, column 51: %z isn't defined before this use");
  expect_line_error(call("\"größe\", %z"), "line 4, column 60: %z isn't defined");
}

TEST(Parse, RefusesMalformedStatements) {
  expect_line_error("%0 : f32[2] = placeholder[target=x]", "line 4, column 2: expected a name");
  expect_line_error("%a.b : f32[2] = placeholder[target=x]", "expected a name");
  expect_line_error("%y : f32[2] = operator[target=x]",
                    "line 4, column 15: expected 'placeholder', 'get_attr' or 'call_function'");
  expect_line_error("%y : f32[2] placeholder[target=x]", "expected '=', found 'placeholder'");
  expect_line_error("%y = placeholder[target=y]", "expected one tensor type");
  expect_line_error("%y : (f32[2]) = placeholder[target=y]", "expected one tensor type");
  expect_line_error("%y : undefined = placeholder[target=y]", "a storage of its own");
  expect_line_error("%y : f32[2]{alias=%x} = placeholder[target=y]", "a storage of its own");
  expect_line_error("%y : f32[2] = get_attr[target=y]", "expected get_attr[target=..., kind=...]");
  expect_line_error("%y : f32[2]{alias=%x} = get_attr[target=y, kind=parameter]",
                    "expected the kind of the storage it shares, \"input\"");
  expect_line_error("%y : f32[2] = get_attr[target=y, kind=weight]",
                    "line 4, column 39: expected input, parameter");
  expect_line_error("%y : f32[2] = call_function[writes=(%x,)](args = (), kwargs = {})",
                    "expected a target");
  expect_line_error("%y : f32[2] = call_function[target=a.b.c]", "expected '(', found '}'");
  expect_line_error("%y : f32[2] = call_function[target=a.b.c](kwargs = {})", "expected 'args'");
  expect_line_error(call("1") + " in encoder", "expected a module path in quotes");
  expect_line_error("return (%x,)\n return (%x,)", "line 5, column 2: expected one return");
  expect_line_error("return[name=x] (%x,)", "the output's name %x is defined already");
  expect_line_error("subgraph f {}\nsubgraph f {}", "line 5, column 10: subgraph 'f' is defined");
}

TEST(Parse, RefusesMalformedAttributes) {
  expect_line_error("%y : f32[2] = placeholder[target=y, target=y]", "'target' is given twice");
  expect_line_error("%y : f32[2] = placeholder[goal=y]", "attribute 'goal' isn't known here");
  expect_line_error("%y : f32[2] = placeholder[target=y, kind=input]", "isn't known here");
  expect_line_error("%y : f32[2]{color=1} = placeholder[target=y]", "'color' isn't known here");
  expect_line_error("%y : f32[2] = placeholder[target=y, traits=(lazy,)]",
                    "expected 'random' or 'nondeterministic', found 'lazy'");
  expect_line_error("%y : f32[2] = placeholder[]", "expected an attribute's name, found ']'");
}

TEST(Parse, RefusesImpossibleTypes) {
  const auto with_type = [](const std::string& type) {
    return "%y : " + type + " = get_attr[target=y, kind=buffer]";
  };
  expect_line_error(with_type("float[2]"),
                    "line 4, column 6: expected an element type such as f32");
  expect_line_error(with_type("f32"), "expected '[', found '='");
  expect_line_error(with_type("f32[-1]"), "expected a size of at least 0, found -1");
  expect_line_error(with_type("f32[2,]"), "expected a size, found ']'");
  expect_line_error(with_type("f32[1.5]"), "expected a size");
  expect_line_error(with_type("f32[99999999999999999999]"), "expected a size");
  expect_line_error(with_type("f32[4294967296,4294967296]"), "whose bytes 64 bits can count");
  expect_line_error(with_type("f32[0,4294967296,4294967296]"), "whose bytes 64 bits can count");
  expect_line_error(with_type("f32[9223372036854775807]"), "whose bytes 64 bits can count");
  expect_line_error(with_type("f32[2]{strides=[9223372036854775807]}"), "64 bits can count");
  expect_line_error(with_type("u8[1]{offset=9223372036854775807}"), "64 bits can count");
  expect_line_error(with_type("f32[2]{strides=[1,1]}"), "expected as many strides as sizes");
  expect_line_error(with_type("f32[2]{strides=[-1]}"), "expected a stride of at least 0");
  expect_line_error(with_type("f32[2]{device=tpu}"), "expected cpu, cuda or meta");
  expect_line_error(with_type("f32[2]{device=cuda:4294967296}"), "at most 31 bits");
  expect_line_error(with_type("f32[2]{alias=%z}"), "line 4, column 19: expected an earlier value");
  expect_line_error(with_type("f32[2]{alias=%s}"), "expected an earlier value");
  expect_line_error(with_type("f32[2]{alias=%s#1}"), "expected an earlier value");
  expect_line_error(with_type("f32[2]{alias=%s#2}"), "expected an earlier value");
  expect_line_error(with_type("f32[2]{alias=%x#0}"), "expected an earlier value");
  expect_line_error(with_type("f32[2]{alias=%y}"), "expected an earlier value");
  expect_line_error(with_type("f32[2]{alias=%x, bytes=8}"), "go with the storage's first value");
  expect_line_error("%y : (f32[2]{alias=%y#0}) = call_function[target=a.b.c](args=(), kwargs={})",
                    "expected an earlier value");
}

TEST(Parse, RefusesMalformedArguments) {
  expect_line_error(call("torch.float99"), "expected an argument, found \"torch.float99\"");
  expect_line_error(call("1 2"), "expected ')', found '2'");
  expect_line_error(call("12abc"), "expected a number");
  expect_line_error(call("1e999"), "expected a number that fits in 64 bits");
  expect_line_error(call("9223372036854775808"), "expected a number that fits in 64 bits");
  expect_line_error(call("-"), "expected a number");
  expect_line_error(call("-nan"), "expected a number");
  expect_line_error(call("nan(0x3ff0000000000000)"), "expected the bits of a NaN");
  expect_line_error(call("[1, 2)"), "expected ']', found ')'");
  expect_line_error(call("[1,, 2]"), "expected an argument, found ','");
  expect_line_error(call("complex(1.0)"), "expected ',', found ')'");
  expect_line_error(call("device(type='tpu')"), "expected cpu, cuda or meta");
  expect_line_error(call("device(type='cuda', index=-1)"), "of at least 0, found -1");
  expect_line_error(call("\"open"), "expected a string that ends on its line");
  expect_line_error(call("\"\\q\""), "expected one of \\\" \\\\ \\n \\r \\t \\xNN");
  expect_line_error(call("\"\\x4\""), "expected two hexadecimal digits");
  expect_line_error(call("\x01"), "found '\\x01'");
}

TEST(Parse, BoundsNestingAndNames) {
  const auto nested = [](std::size_t depth) {
    return call(std::string(depth, '[') + std::string(depth, ']'));
  };
  const auto in_graph = [](const std::string& line) { return "graph g {\n" + line + "\n}"; };
  EXPECT_NO_THROW((void)parse(in_graph(nested(64))));
  expect_error(in_graph(nested(65)), "line 2, column 115: expected at most 64 nested lists");
  expect_error(in_graph(nested(1000000)), "at most 64 nested lists");

  std::string graphs = "graph g {";
  for (int i = 0; i < 63; ++i) graphs += "subgraph f {";
  EXPECT_NO_THROW((void)parse(graphs + std::string(64, '}')));
  for (int i = 0; i < 100000; ++i) graphs += "subgraph f {";
  expect_error(graphs, "at most 64 nested graphs");

  const std::string longest(4096, 'n');
  EXPECT_NO_THROW((void)parse("graph " + longest + " {}"));
  expect_error("graph " + longest + "n {}", "a graph's name of at most 4096 bytes");
  expect_error("graph \"" + longest + "n\" {}", "a graph's name of at most 4096 bytes");
  expect_line_error("%" + longest + "n : f32[1] = placeholder[target=x]", "at most 4096 bytes");
  EXPECT_NO_THROW((void)parse(in_graph(call("\"" + std::string(100000, 's') + "\""))))
      << "strings aren't names";
}

TEST(Parse, SurvivesEverySingleByteAndEveryPrefix) {
  const std::string good = R"(graph g {
  %x : f32[2]{device=cuda:0} = placeholder[target=x]
  %y : (f32[2], i64[]{strides=[], alias=%y#0}) = call_function[target=a.b.c, writes=(%x,)](args = (%x, [1.5, nan, "s\x41"], complex(1, inf)), kwargs = {k: device(type='cuda', index=0)}) in "m" at "s"
  return (%y,) subgraph f { return () } })";
  ASSERT_NO_THROW((void)parse(good));
  const auto tolerate = [](const std::string& source) {
    try {
      (void)parse(source);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kInvalidGraph);
      EXPECT_THAT(e.message(), HasSubstr("line "));
    }
  };
  // Every byte that means something to the parser, some that don't, and the final NUL.
  static constexpr char kBytes[] = "\n \"%#'()*+,-./09:=AENT[\\]aceinortx{}\x7f\x80\xc3\xff";
  for (std::size_t n = 0; n < good.size(); ++n) tolerate(good.substr(0, n));
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string changed = good;
    for (const char byte : kBytes) {
      changed[at] = byte;
      tolerate(changed);
    }
  }
}

}  // namespace
}  // namespace monograph::ir
