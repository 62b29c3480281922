// Runs rule tables: small programs of driver calls with the result that each call must give.
//
// A table is text, a step a line:
//   rule NAME             begins a rule; fresh objects for each
//   quote TEXT            the sentence of the driver's documentation that it checks
//   only virtual          undefined on a real driver (use of destroyed objects), or a choice of
//   ours
//   [@2] OP ARGS... [-> CODE [VALUE]]   a call; @2: from a second thread, @0: from a thread without
//                         a current context; no arrow: must succeed. VALUE: what it must return
//   matrix NAME / quote / setup STEP... / finish STEP / row STEP -> CODE / CODE
//                         each row is a rule: setup steps, the step, then finish with the 2nd code
// Objects: streams s t u (non-blocking) b c (blocking) null; events e f (untimed) x y (timed);
// graphs g h; device memory p q; pinned memory m; kernel k, which writes 64 floats to p.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/cuda/handles/context.h"

namespace vgpu_rules {

using monograph::cuda::Driver;

struct Step {
  int line = 0;
  char thread = '1';
  std::vector<std::string> words;  // operation and arguments
  std::string code = "SUCCESS";    // without CUDA_ERROR_
  std::string value;               // empty: not checked
};
struct Rule {
  std::string name, quote;
  bool only_virtual = false;
  std::vector<Step> steps;
};
struct Outcome {
  Step step;
  std::string code, value;
  bool ok = false;
};

/// Parses a table; throws std::runtime_error naming the line.
std::vector<Rule> parse(const std::string& text);

/// "STREAM_CAPTURE_UNJOINED" for the code, from the driver itself.
std::string spell(const Driver& driver, CUresult code);

class Objects;
using Operation =
    std::function<CUresult(Objects&, const std::vector<std::string>& args, std::string* value)>;
const std::map<std::string, Operation>& operations();

/// The objects of one rule. Names are resolved on use; `get` throws std::runtime_error for an
/// unknown one. Everything is released at the end, whatever state it is in.
class Objects {
 public:
  Objects(const Driver& driver, CUcontext context, CUkernel kernel);
  ~Objects();
  Objects(const Objects&) = delete;

  const Driver& cu;
  CUcontext context;
  CUkernel kernel;
  std::map<std::string, CUstream> streams;
  std::map<std::string, CUevent> events;
  std::map<std::string, CUgraph> graphs;
  std::map<std::string, CUgraphNode> nodes;
  std::map<std::string, CUgraphExec> execs;
  std::map<std::string, CUdeviceptr> memory;
  std::map<std::string, void*> pinned;
  std::map<std::string, std::pair<CUdeviceptr, size_t>> reservations;
  std::map<std::string, std::pair<CUmemGenericAllocationHandle, size_t>> physical;
  std::vector<CUlibrary> libraries;
  std::vector<char> host = std::vector<char>(4096);  // pageable
  CUdeviceptr out;                                   // parameters of `kernel`
  CUresult inside = CUDA_SUCCESS;                    // of the driver call that a host function made
  float value = 1;
  int count = 64;
  void* params[3];

  template <class T>
  T& get(std::map<std::string, T>& from, const std::string& name) {
    const auto found = from.find(name);
    if (found == from.end()) throw std::runtime_error("no object named " + name);
    return found->second;
  }

 private:
  void end_captures();
};

/// Runs rules against a driver whose primary context is current.
class Runner {
 public:
  Runner(const monograph::cuda::ContextRef& context, std::string image);
  ~Runner();
  std::vector<Outcome> run(const Rule& rule);

 private:
  class Worker;
  void on(char thread, const std::function<void()>& work);

  const Driver& cu_;
  CUcontext context_;
  CUlibrary library_ = nullptr;
  CUkernel kernel_ = nullptr;
  std::unique_ptr<Worker> second_, bare_;  // with and without a current context
};

}  // namespace vgpu_rules
