#include "tests/vgpu/rules/interpreter.h"

#include <condition_variable>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/vgpu/rules/vocabulary.h"

namespace vgpu_rules {
namespace {

[[noreturn]] void fail(int line, const std::string& what) {
  throw std::runtime_error("line " + std::to_string(line) + ": " + what);
}

std::vector<std::string> split(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// "[@2] op args -> CODE value"; without an arrow the call must succeed.
Step parse_step(const std::string& text, int line) {
  Step step;
  step.line = line;
  std::vector<std::string> words = split(text);
  if (!words.empty() && words[0].size() == 2 && words[0][0] == '@') {
    step.thread = words[0][1];
    words.erase(words.begin());
  }
  std::size_t i = 0;
  for (; i < words.size() && words[i] != "->"; ++i) step.words.push_back(words[i]);
  if (i < words.size()) {
    if (i + 1 >= words.size()) fail(line, "no result after ->");
    step.code = words[i + 1];
    if (i + 2 < words.size()) step.value = words[i + 2];
  }
  if (step.words.empty() || !operations().count(step.words[0])) {
    fail(line, "unknown operation in: " + text);
  }
  return step;
}

struct Matrix {
  std::string name, quote;
  std::vector<Step> setup;
  Step finish;
};

Rule parse_row(const Matrix& matrix, const std::string& text, int line) {
  const auto slash = text.rfind(" / ");
  if (slash == std::string::npos) fail(line, "a row needs two results");
  Rule rule;
  Step step = parse_step(text.substr(0, slash), line);
  rule.quote = matrix.quote;
  rule.name = matrix.name + "." + step.words[0];
  for (std::size_t i = 1; i < step.words.size(); ++i) rule.name += "." + step.words[i];
  rule.steps = matrix.setup;
  rule.steps.push_back(step);
  rule.steps.push_back(matrix.finish);
  rule.steps.back().line = line;
  rule.steps.back().code = split(text.substr(slash + 3)).at(0);
  return rule;
}

}  // namespace

const std::map<std::string, Operation>& operations() {
  static const std::map<std::string, Operation> all = [] {
    std::map<std::string, Operation> ops;
    for (const auto list : {stream_operations(), memory_operations(), graph_operations()}) {
      ops.insert(list.begin(), list.end());
    }
    return ops;
  }();
  return all;
}

std::vector<Rule> parse(const std::string& text) {
  std::vector<Rule> rules;
  Matrix matrix;
  bool in_matrix = false;
  std::istringstream in(text);
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    const auto from = line.find_first_not_of(" \t");
    if (from == std::string::npos || line[from] == '#') continue;
    line = line.substr(from);
    const auto space = line.find(' ');
    const std::string word = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (word == "rule" || word == "matrix") {
      in_matrix = word == "matrix";
      if (in_matrix)
        matrix = {rest, "", {}, {}};
      else
        rules.push_back({rest, "", false, {}});
    } else if (word == "quote") {
      std::string& quote = in_matrix ? matrix.quote : rules.back().quote;
      quote += (quote.empty() ? "" : " ") + rest;
    } else if (word == "only") {
      rules.back().only_virtual = true;
    } else if (in_matrix && word == "setup") {
      matrix.setup.push_back(parse_step(rest, number));
    } else if (in_matrix && word == "finish") {
      matrix.finish = parse_step(rest, number);
    } else if (in_matrix && word == "row") {
      rules.push_back(parse_row(matrix, rest, number));
    } else if (!in_matrix && !rules.empty()) {
      rules.back().steps.push_back(parse_step(line, number));
    } else {
      fail(number, "unexpected: " + line);
    }
  }
  return rules;
}

std::string spell(const Driver& driver, CUresult code) {
  const char* name = nullptr;
  if (driver.GetErrorName.raw(code, &name) != CUDA_SUCCESS || name == nullptr) {
    return std::to_string(static_cast<int>(code));
  }
  const std::string text = name;
  for (const char* prefix : {"CUDA_ERROR_", "CUDA_"}) {
    if (text.rfind(prefix, 0) == 0) return text.substr(std::string(prefix).size());
  }
  return text;
}

// ---- objects ----
Objects::Objects(const Driver& driver, CUcontext ctx, CUkernel k)
    : cu(driver), context(ctx), kernel(k) {
  for (const char* name : {"s", "t", "u"}) cu.StreamCreate(&streams[name], CU_STREAM_NON_BLOCKING);
  for (const char* name : {"b", "c"}) cu.StreamCreate(&streams[name], CU_STREAM_DEFAULT);
  streams["null"] = nullptr;
  for (const char* name : {"e", "f"}) cu.EventCreate(&events[name], CU_EVENT_DISABLE_TIMING);
  for (const char* name : {"x", "y"}) cu.EventCreate(&events[name], CU_EVENT_DEFAULT);
  for (const char* name : {"g", "h"}) cu.GraphCreate(&graphs[name], 0);
  for (const char* name : {"p", "q"}) cu.MemAlloc(&memory[name], 4096);
  cu.MemHostAlloc(&pinned["m"], 4096, 0);
  out = memory["p"];
  params[0] = &out;
  params[1] = &value;
  params[2] = &count;
}

void Objects::end_captures() {
  for (const auto& [name, stream] : streams) {
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    if (stream && cu.StreamIsCapturing.raw(stream, &status) == CUDA_SUCCESS &&
        status != CU_STREAM_CAPTURE_STATUS_NONE) {
      CUgraph graph = nullptr;
      if (cu.StreamEndCapture.raw(stream, &graph) == CUDA_SUCCESS && graph &&
          graph != graphs["g"] && graph != graphs["h"]) {
        cu.GraphDestroy.raw(graph);
      }
    }
  }
}

Objects::~Objects() {
  // Whatever the rule left behind; results don't matter any more.
  end_captures();
  end_captures();  // a joined stream is free only after its origin has ended
  cu.CtxSynchronize.raw();
  for (const auto& [name, exec] : execs) cu.GraphExecDestroy.raw(exec);
  for (const auto& [name, graph] : graphs) {
    if (graph) cu.GraphDestroy.raw(graph);
  }
  for (const auto& [name, event] : events) cu.EventDestroy.raw(event);
  for (const auto& [name, stream] : streams) {
    if (stream) cu.StreamDestroy.raw(stream);
  }
  for (const auto& [name, at] : memory) cu.MemFree.raw(at);
  for (const auto& [name, at] : pinned) cu.MemFreeHost.raw(at);
  for (const auto& [name, range] : reservations) cu.MemUnmap.raw(range.first, range.second);
  for (const auto& [name, block] : physical) cu.MemRelease.raw(block.first);
  for (const auto& [name, range] : reservations) cu.MemAddressFree.raw(range.first, range.second);
  for (CUlibrary library : libraries) cu.LibraryUnload.raw(library);
}

// ---- running ----
// A thread that does one thing at a time on behalf of the rule.
class Runner::Worker {
 public:
  Worker(const Driver& cu, CUcontext context)
      : thread_([this, &cu, context] { loop(cu, context); }) {}
  ~Worker() {
    call(nullptr);
    thread_.join();
  }
  void call(std::function<void()> work) {
    std::unique_lock lock(mutex_);
    quit_ = !work;
    work_ = std::move(work);
    busy_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !busy_; });
  }

 private:
  void loop(const Driver& cu, CUcontext context) {
    if (context) cu.CtxPushCurrent.raw(context);
    for (;;) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return busy_; });
      if (work_) work_();
      busy_ = false;
      changed_.notify_all();
      if (quit_) break;
    }
    CUcontext popped = nullptr;
    if (context) cu.CtxPopCurrent.raw(&popped);
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> work_;
  bool busy_ = false, quit_ = false;
  std::thread thread_;
};

Runner::Runner(const monograph::cuda::ContextRef& context, std::string image)
    : cu_(context->driver()), context_(context->get()) {
  image.push_back('\0');
  cu_.LibraryLoadData(&library_, image.data(), nullptr, nullptr, 0, nullptr, nullptr, 0);
  cu_.LibraryGetKernel(&kernel_, library_, "fill");
  CUfunction function = nullptr;
  cu_.KernelGetFunction(&function, kernel_);  // loads it now, outside any capture
  second_ = std::make_unique<Worker>(cu_, context_);
  bare_ = std::make_unique<Worker>(cu_, nullptr);
}

Runner::~Runner() {
  cu_.LibraryUnload.raw(library_);
}

void Runner::on(char thread, const std::function<void()>& work) {
  if (thread == '2') {
    second_->call(work);
  } else if (thread == '0') {
    bare_->call(work);
  } else {
    work();
  }
}

std::vector<Outcome> Runner::run(const Rule& rule) {
  for (const char thread : {'1', '2', '0'}) {  // whatever mode the last rule left
    on(thread, [&] {
      CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
      cu_.ThreadExchangeStreamCaptureMode.raw(&mode);
    });
  }
  std::vector<Outcome> outcomes;
  Objects objects(cu_, context_, kernel_);
  for (const Step& step : rule.steps) {
    const std::vector<std::string> args(step.words.begin() + 1, step.words.end());
    Outcome outcome;
    outcome.step = step;
    on(step.thread, [&] {
      try {
        outcome.code = spell(cu_, operations().at(step.words[0])(objects, args, &outcome.value));
      } catch (const std::exception& error) {
        outcome.code = std::string("exception: ") + error.what();
      }
    });
    outcome.ok = outcome.code == step.code && (step.value.empty() || outcome.value == step.value);
    outcomes.push_back(outcome);
  }
  return outcomes;
}

}  // namespace vgpu_rules
