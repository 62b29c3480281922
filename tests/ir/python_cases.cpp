// Writes DIR/CASE/transformed_code.py for graphs whose answers python_form.py knows.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "capture/ir/python.h"
#include "capture/ir/text.h"
#include "capture/ir/verify.h"

namespace monograph::ir {
namespace {

/// Embedding, layer norm, linear, views, an in-place sum, split, softmax: a small encoder.
constexpr const char* kEncoder = R"(graph encoder {
  %ids : i64[2,5] = placeholder[target=ids]
  %mask : bool[2,5] = placeholder[target=mask]
  %table : f32[11,8] = get_attr[target=embed.weight, kind=parameter]
  %g : f32[8] = get_attr[target=norm.weight, kind=parameter]
  %b : f32[8] = get_attr[target=norm.bias, kind=parameter]
  %w : f32[8,8] = get_attr[target=fc.weight, kind=parameter]
  %embedding : f32[2,5,8] = call_function[target=aten.embedding.default](args = (%table, %ids), kwargs = {}) in "embed"
  %norm : f32[2,5,8] = call_function[target=aten.layer_norm.default](args = (%embedding, [8], %g, %b, 1e-05), kwargs = {}) in "norm"
  %linear : f32[2,5,8] = call_function[target=aten.linear.default](args = (%norm, %w), kwargs = {}) in "fc"
  %view : f32[2,5,2,4]{alias=%linear} = call_function[target=aten.view.default](args = (%linear, [2, 5, 2, 4]), kwargs = {})
  %select : f32[2,5,4]{strides=[40,8,1], offset=4, alias=%linear} = call_function[target=aten.select.int](args = (%view, 2, 1), kwargs = {})
  %add_ : f32[2,5,4]{strides=[40,8,1], offset=4, alias=%linear} = call_function[target=aten.add_.Scalar, writes=(%select,)](args = (%select, 0.5), kwargs = {alpha: 2})
  %split : (f32[2,5,3]{strides=[40,8,1], alias=%linear}, f32[2,5,5]{strides=[40,8,1], offset=3, alias=%linear}) = call_function[target=aten.split_with_sizes.default](args = (%linear, [3, 5], -1), kwargs = {})
  %left : f32[2,5,3]{strides=[40,8,1], alias=%linear} = call_function[target=operator.getitem](args = (%split, 0), kwargs = {})
  %right : f32[2,5,5]{strides=[40,8,1], offset=3, alias=%linear} = call_function[target=operator.getitem](args = (%split, 1), kwargs = {})
  %not : bool[2,5] = call_function[target=aten.bitwise_not.default](args = (%mask,), kwargs = {})
  %hidden : bool[2,1,5]{alias=%not} = call_function[target=aten.unsqueeze.default](args = (%not, 1), kwargs = {})
  %fill : f32[2,5,5] = call_function[target=aten.masked_fill.Scalar](args = (%right, %hidden, -inf), kwargs = {})
  %softmax : f32[2,5,5] = call_function[target=aten.softmax.int](args = (%fill, -1), kwargs = {dtype: torch.float32})
  %half : f16[2,5,3] = call_function[target=aten._to_copy.default](args = (%left,), kwargs = {dtype: torch.float16, layout: torch.strided, device: device(type='cpu'), memory_format: torch.contiguous_format})
  return (%softmax, [%half, None, %split], 3)
}
)";

/// Fusions in fusions, list results, names that Python doesn't allow, keywords it doesn't allow.
constexpr const char* kFusions = R"(graph "fus\nions" {
  %lambda : f32[3,4] = placeholder[target="lambda\n\"x\""]
  %weights : f32[3,4] = placeholder[target=weights]
  %none : f32[4] = get_attr[target="bias \\ \"ü\"", kind=buffer]
  %pair : (f32[3,4], f32[3,4]) = call_function[target="fusion.add & mul"](args = (%lambda, %weights), kwargs = {})
  %import : f32[3,4]{alias=%pair#0} = call_function[target=operator.getitem](args = (%pair, 0), kwargs = {})
  %class : f32[3,4]{alias=%pair#1} = call_function[target=operator.getitem](args = (%pair, 1), kwargs = {})
  %one : f32[3,4] = call_function[target=fusion.one](args = (%class,), kwargs = {})
  %uniform : f32[3,4]{alias=%one} = call_function[target=aten.uniform_.default, writes=(%one,)](args = (%one,), kwargs = {from: 2.5, to: 2.5})
  %sum : f32[3,4] = call_function[target=aten.add.Tensor](args = (%uniform, %none), kwargs = {})
  %random_ : f32[3,4]{alias=%sum} = call_function[target=aten.add_.Tensor, writes=(%sum,)](args = (%sum, %import), kwargs = {alpha: -1})
  %and : bool[3,4] = call_function[target=aten.gt.Scalar](args = (%import, 0), kwargs = {})
  %both : bool[3,4] = call_function[target=aten.__and__.Scalar](args = (%and, True), kwargs = {})
  return (%random_, %both)
  subgraph "add & mul" {
    %a : f32[3,4] = placeholder[target=a]
    %b : f32[3,4] = placeholder[target=b]
    %c : f32[3,4] = call_function[target=aten.add.Tensor](args = (%a, %b), kwargs = {alpha: 2.0})
    %d : (f32[3,4],) = call_function[target=fusion.inner](args = (%c,), kwargs = {})
    %e : f32[3,4]{alias=%d#0} = call_function[target=operator.getitem](args = (%d, 0), kwargs = {})
    return (%c, [%e])
    subgraph inner {
      %p : f32[3,4] = placeholder[target=p]
      %k : f32[3,4] = get_attr[target=inner.scale, kind=parameter]
      %q : f32[3,4] = call_function[target=aten.mul.Tensor](args = (%p, %k), kwargs = {})
      return (%q,)
    }
  }
  subgraph one {
    %p : f32[3,4] = placeholder[target=p]
    %q : f32[3,4] = call_function[target=aten.neg.default](args = (%p,), kwargs = {})
    return (%q,)
  }
}
)";

/// Strides, offsets and shared memory that the operators here can't do without.
constexpr const char* kLayouts = R"(graph layouts {
  %x : f32[3,4]{strides=[1,3], offset=2, bytes=64} = placeholder[target=x]
  %w : f32[4,6]{strides=[1,4]} = get_attr[target=w, kind=parameter]
  %tied : f32[6,4]{alias=%w} = get_attr[target=tied, kind=parameter]
  %part : f32[2]{strides=[3], offset=1, alias=%w} = get_attr[target=part, kind=parameter]
  %wide : f32[5,3]{strides=[0,1]} = get_attr[target=wide, kind=constant]
  %state : f32[2] = get_attr[target=state, kind=state]
  %t : f32[6,4]{alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
  %flat : f32[24]{alias=%w} = call_function[target=aten.view.default](args = (%t, [24]), kwargs = {})
  %xt : f32[4,3]{offset=2, alias=%x} = call_function[target=aten.t.default](args = (%x,), kwargs = {})
  %xflat : f32[12]{offset=2, alias=%x} = call_function[target=aten.view.default](args = (%xt, [-1]), kwargs = {})
  %window : f32[2,2]{strides=[4,1], offset=3, alias=%x} = call_function[target=aten.as_strided.default](args = (%x, [2, 2], [4, 1], 3), kwargs = {})
  %copy_ : f32[2]{alias=%state} = call_function[target=aten.add_.Tensor, writes=(%state,)](args = (%state, %part), kwargs = {})
  %prod : f32[6,6] = call_function[target=aten.mm.default](args = (%tied, %w), kwargs = {})
  return (%flat, %xflat, %window, %copy_, %prod, %wide, %part)
}
)";

/// One weight and one input of every element type, and empty ones, straight to the outputs.
std::string all_dtypes() {
  std::string inputs;
  std::string weights;
  std::string returned;
  for (int i = 1; i <= static_cast<int>(DType::kF8E5M2); ++i) {
    const std::string name(dtype_name(static_cast<DType>(i)));
    const auto line = [&](const std::string& node, const char* shape, const char* kind) {
      returned.append("%").append(node).append(", ");
      std::string out = "%";
      return out.append(node).append(" : ").append(name).append(shape).append(kind).append("\n");
    };
    inputs += line("i_" + name, "[3,2]", " = placeholder[traits=()]");
    weights += line("w_" + name, "[5]", " = get_attr[kind=buffer]");
    weights += line("z_" + name, "[2,0]", " = get_attr[kind=buffer]");
  }
  return "graph dtypes {\n" + inputs + weights + "return (" + returned + ")\n}";
}

void write_case(const std::filesystem::path& directory, const std::string& source) {
  const Graph graph = parse(source);
  verify(graph);
  std::filesystem::create_directories(directory);
  std::ofstream file(directory / "transformed_code.py");
  file << python(graph);
  if (!file.flush()) throw std::runtime_error("can't write " + directory.string());
}

}  // namespace
}  // namespace monograph::ir

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIR\n", argv[0]);
    return 2;
  }
  const std::vector<std::pair<const char*, std::string>> cases{
      {"encoder", monograph::ir::kEncoder},
      {"fusions", monograph::ir::kFusions},
      {"layouts", monograph::ir::kLayouts},
      {"dtypes", monograph::ir::all_dtypes()},
      {"constants", "graph c { return (1, None) }"}};
  try {
    for (const auto& [name, source] : cases) {
      monograph::ir::write_case(std::filesystem::path(argv[1]) / name, source);
    }
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
