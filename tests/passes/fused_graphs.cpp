// Writes the Python forms of a graph before and after the fused pipeline, and a script that
// computes the constants the pipeline asked for, for tests/passes/fused_graphs.py.
//
//   fused_graphs GRAPH.txt FOLDER
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <sstream>
#include <string>

#include "capture/ir/python.h"
#include "capture/ir/text.h"
#include "capture/passes/pass.h"

namespace monograph::passes {
namespace {

std::string python(const ir::Arg& arg) {
  if (const auto* node = arg.get_if<ir::Node*>()) return fmt::format("W['{}']", (*node)->target());
  const auto* list = arg.get_if<ir::Arg::List>();
  if (list == nullptr) return ir::text(arg);
  std::string s = "[";
  for (const ir::Arg& a : *list) s += python(a) + ", ";
  return s + "]";
}

/// Agrees to keep any constant and notes how it is computed.
class Recorder : public ConstantEvaluator {
 public:
  std::optional<std::vector<FoldedConstant>> evaluate(const ir::Node& node) override {
    if (node.values().size() != 1) return std::nullopt;
    const ir::Value& v = node.values().front();
    const std::string name = fmt::format("folded_{}", made_++);
    std::string arguments;
    for (const ir::Arg& a : node.args()) arguments += python(a) + ", ";
    for (const auto& [key, a] : node.kwargs()) arguments += fmt::format("{}={}, ", key, python(a));
    script += fmt::format("W['{}'] = torch.ops.{}({})\n", name, node.target(), arguments);
    return std::vector<FoldedConstant>{{name, v.type, v.type.storage_extent()}};
  }
  std::string script;

 private:
  int made_ = 0;
};

void write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

int run(const std::string& source, const std::string& folder) {
  std::stringstream text;
  text << std::ifstream(source).rdbuf();
  ir::Graph graph = ir::parse(text.str());
  write(folder + "/before.py", ir::python(graph));
  Recorder recorder;
  PassContext context{&recorder};
  run_passes(graph, fused_pipeline(), context);
  write(folder + "/after.py", ir::python(graph));
  write(folder + "/constants.py", recorder.script);
  write(folder + "/after.txt", ir::text(graph));
  return 0;
}

}  // namespace
}  // namespace monograph::passes

int main(int argc, char** argv) {
  try {
    if (argc == 3) return monograph::passes::run(argv[1], argv[2]);
    std::fputs("usage: fused_graphs GRAPH.txt FOLDER\n", stderr);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "fused_graphs: %s\n", e.what());
  }
  return 1;
}
