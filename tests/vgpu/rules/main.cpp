// vgpu_rules: runs rule tables against a driver.
//   vgpu_rules --driver libcuda.so.1 --json results.json capture.rules graph.rules ...
// Exit status 0 if every step gave the result in its table, 1 otherwise.
#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/vgpu/rules/interpreter.h"

namespace {

using namespace vgpu_rules;

// The kernel that rules launch, for a real driver to compile itself.
constexpr char kPtx[] = R"(.version 7.0
.target sm_70
.address_size 64
.visible .entry fill(.param .u64 out, .param .f32 value, .param .u32 n) {
  .reg .pred %p;
  .reg .b32 %i<3>;
  .reg .f32 %f;
  .reg .b64 %a<3>;
  ld.param.u64 %a0, [out];
  ld.param.f32 %f, [value];
  ld.param.u32 %i0, [n];
  mov.u32 %i1, %tid.x;
  setp.ge.s32 %p, %i1, %i0;
  @%p ret;
  mul.wide.s32 %a1, %i1, 4;
  add.s64 %a2, %a0, %a1;
  st.global.f32 [%a2], %f;
  ret;
}
)";

std::string read(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw std::runtime_error("can't read " + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string text_of(const Step& step) {
  std::string text = step.thread == '1' ? "" : std::string("@") + step.thread + " ";
  for (const auto& word : step.words) text += (word == step.words[0] ? "" : " ") + word;
  return text;
}

struct Choice {
  bool is_virtual = false;
  bool verbose =
      false;          // name each rule before it runs: the last one named is the one that crashed
  std::string after;  // skip the rules up to this one
};

// Runs the chosen rules of a table; how many failed.
int run_table(const std::string& path, Choice* choice, Runner* runner, nlohmann::json* report) {
  int failed = 0;
  for (const Rule& rule : parse(read(path))) {
    if (!choice->after.empty()) {
      if (choice->after == rule.name) choice->after.clear();
      continue;
    }
    if (rule.only_virtual && !choice->is_virtual) continue;
    if (choice->verbose) std::cout << "rule " << rule.name << std::endl;
    nlohmann::json steps = nlohmann::json::array();
    bool ok = true;
    for (const Outcome& o : runner->run(rule)) {
      steps.push_back({{"line", o.step.line},
                       {"call", text_of(o.step)},
                       {"expected", o.step.code},
                       {"actual", o.code},
                       {"value", o.value},
                       {"ok", o.ok}});
      if (o.ok) continue;
      ok = false;
      std::cout << path << ":" << o.step.line << ": " << rule.name << ": " << text_of(o.step)
                << " gave " << o.code << " " << o.value << ", the table says " << o.step.code << " "
                << o.step.value << "\n";
    }
    report->push_back({{"rule", rule.name}, {"quote", rule.quote}, {"ok", ok}, {"steps", steps}});
    failed += !ok;
  }
  return failed;
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app("Checks the rules of the CUDA driver, table by table");
  std::string library = Driver::kDefaultLibrary, json, image;
  std::vector<std::string> tables;
  app.add_option("--driver", library, "driver library to open");
  app.add_option("--json", json, "file for the results of every step");
  app.add_option("--image", image, "shared object with the rules' kernel, for the virtual GPU");
  app.add_option("tables", tables, "rule tables")->required();
  Choice choice;
  app.add_option("--after", choice.after, "skip the rules up to this one");
  app.add_flag("--verbose", choice.verbose, "name each rule before it runs");
  CLI11_PARSE(app, argc, argv);
  choice.is_virtual = !image.empty();

  const Driver& driver = Driver::open(library);
  const auto context = monograph::cuda::Context::retain(driver);
  const monograph::cuda::CurrentContext current(*context);
  Runner runner(context, image.empty() ? kPtx : "vgpu-so:" + image);
  nlohmann::json report{{"driver", library},
                        {"version", driver.version()},
                        {"device", context->info().name},
                        {"rules", nlohmann::json::array()}};
  int failed = 0;
  for (const auto& table : tables) {
    failed += run_table(table, &choice, &runner, &report["rules"]);
  }
  if (!json.empty()) std::ofstream(json) << report.dump(1) << "\n";
  std::cout << report["rules"].size() << " rules, " << failed << " failed, on "
            << context->info().name << "\n";
  return failed ? 1 : 0;
} catch (const std::exception& error) {
  std::cerr << "vgpu_rules: " << error.what() << "\n";
  return 2;
}
