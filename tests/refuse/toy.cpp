#include "tests/refuse/toy.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

namespace monograph::test {

Toy::Toy(Body b, unsigned seed) : body(std::move(b)) {
  at::manual_seed(seed);
  weight = at::randn({4, 4});
  bias = at::randn({4});
  count = at::zeros({4});
  deviation = at::rand({4}) + 0.5;
  cache = at::randn({4, 4});
  tied = weight.detach();
  outside = at::ones({4});
  other = at::ones({4});
  transposed = weight.t();
}

std::vector<NamedTensor> Toy::tensors() const {
  std::vector<NamedTensor> all = {{"weight", weight, false}, {"bias", bias, false},
                                  {"count", count, true},    {"deviation", deviation, true},
                                  {"cache", cache, true},    {"tied", tied, false}};
  if (late.defined()) all.push_back({"late", late, true});
  return all;
}

Module Toy::module() {
  Module m;
  m.forward = [this](const Tensors& in) { return forward(in); };
  m.tensors = tensors();
  m.list_tensors = [this] { return tensors(); };
  m.input_names = {"x", "ids"};
  return m;
}

std::map<std::string, at::Tensor> Toy::everything() const {
  std::map<std::string, at::Tensor> all = {{"outside", outside}, {"other", other}};
  for (const NamedTensor& t : tensors()) all.emplace(t.name, t.tensor);
  return all;
}

Case unsafe(std::string category, std::string name, Code code, std::string subject, Toy::Body body,
            std::function<void(Options&, Toy&)> configure,
            std::function<void(Module&, Tensors&)> twist) {
  return {std::move(category),  std::move(name), true, code, std::move(subject), std::move(body),
          std::move(configure), std::move(twist)};
}

Case safe(std::string category, std::string name, Toy::Body body,
          std::function<void(Options&, Toy&)> configure,
          std::function<void(Module&, Tensors&)> twist) {
  return {std::move(category), std::move(name),      false,           Code::kInternal, {},
          std::move(body),     std::move(configure), std::move(twist)};
}

Tensors draw_inputs() {
  return {at::randn({4, 4}), at::randperm(4)};
}

std::string expected(const Case& c) {
  if (!c.unsafe) return "accepted";
  return fmt::format("{} '{}'", code_name(c.code), c.subject);
}

namespace {

bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.strides() == b.strides() && a.dtype() == b.dtype() &&
         at::equal(a.contiguous().view(-1), b.contiguous().view(-1));
}

/// The first tensor that differs between two toys' or a toy's and a copy's; empty if none does.
std::string difference(const std::map<std::string, at::Tensor>& a,
                       const std::map<std::string, at::Tensor>& b) {
  for (const auto& [name, tensor] : a) {
    const auto other = b.find(name);
    if (other == b.end() || !same_bytes(tensor, other->second)) return name;
  }
  return {};
}

std::map<std::string, at::Tensor> copies(const std::map<std::string, at::Tensor>& all) {
  std::map<std::string, at::Tensor> out;
  for (const auto& [name, tensor] : all) out.emplace(name, tensor.clone());
  return out;
}

std::string compare_outputs(const Tensors& got, const Tensors& want) {
  if (got.size() != want.size()) return fmt::format("{} outputs, not {}", got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const bool floats = want[i].is_floating_point();
    if (floats && !want[i].isfinite().all().item<bool>()) return "eager's answer isn't finite";
    if (got[i].sizes() != want[i].sizes() || got[i].dtype() != want[i].dtype()) {
      return fmt::format("output {} has another type", i);
    }
    const bool same =
        floats ? at::allclose(got[i], want[i], 1e-5, 1e-6) : at::equal(got[i], want[i]);
    if (!same) return fmt::format("output {} differs from eager's", i);
  }
  return {};
}

/// Three calls of a safe module beside three eager ones of its twin.
std::string follow(CompiledModule& compiled, Toy& toy, Toy& twin, const Case& c) {
  for (int call = 0; call < 3; ++call) {
    Tensors inputs = draw_inputs();
    if (c.twist) {
      Module unused;
      c.twist(unused, inputs);
    }
    const Tensors got = compiled(inputs);
    Tensors want;
    {
      const c10::NoGradGuard no_grad;
      want = twin.forward(inputs);
      for (at::Tensor& t : want) t = t.clone();
    }
    if (std::string fault = compare_outputs(got, want); !fault.empty()) {
      return fmt::format("call {}: {}", call, fault);
    }
    const std::string name = difference(toy.everything(), twin.everything());
    if (!name.empty()) return fmt::format("call {}: '{}' isn't what eager leaves", call, name);
  }
  if (compiled.counters().traces != 1) return "it was traced more than once";
  return {};
}

Verdict refused(CompiledModule& compiled, const Toy& toy, const Tensors& inputs, const Case& c,
                const RejectedError& error) {
  const Rejection& r = error.rejection();
  Verdict v{fmt::format("{} '{}'", code_name(r.code), r.subject), {}, r.to_string()};
  if (!c.unsafe) {
    v.fault = "a safe module was rejected";
  } else if (r.code != c.code) {
    v.fault = "wrong code";
  } else if (c.subject != "*" && r.subject != c.subject) {
    v.fault = "wrong name";
  } else if (r.reason.empty() || r.remedy.empty()) {
    v.fault = "no reason or no remedy";
  }
  if (!v.fault.empty() || !c.unsafe) return v;
  if (r.code == Code::kRejectedAliasing) return v;  // the call's doing: not remembered
  const auto traces = compiled.counters().traces;
  try {
    compiled(inputs);
    v.fault = "accepted the second time";
  } catch (const RejectedError& again) {
    if (again.what() != std::string(error.what())) v.fault = "another answer the second time";
  }
  if (compiled.counters().traces != traces) v.fault = "traced again";
  const auto asked = compiled.rejection(inputs);
  if (!asked || asked->reason != r.reason) v.fault = "can't be asked why";
  (void)toy;
  return v;
}

}  // namespace

Verdict judge(const Case& c) {
  Toy toy(c.body);
  Toy twin(c.body);
  Options options;
  options.backend = "host";
  options.name = "toy";
  if (c.configure) c.configure(options, toy);
  Module module = toy.module();
  Tensors inputs = draw_inputs();
  if (c.twist) c.twist(module, inputs);
  const auto before = copies(toy.everything());
  const Tensors given = {inputs[0].clone(), inputs[1].clone()};
  const Tensors shown = inputs;
  CompiledModule compiled(std::move(module), options);
  Verdict v;
  try {
    if (c.unsafe) {
      compiled(inputs);
      return {"accepted", "an unsafe module was accepted", {}};
    }
    v.got = "accepted";
    v.fault = follow(compiled, toy, twin, c);
  } catch (const RejectedError& e) {
    v = refused(compiled, toy, inputs, c, e);
    // Rebinding is forward's own doing, and what host code did to a tensor before the recorder met
    // it can't be undone; everything else must be as before.
    const bool undone = c.code != Code::kRejectedRebinding && c.subject != "_tensor_constant0";
    if (v.fault.empty() && undone) {
      const std::string name = difference(before, toy.everything());
      if (!name.empty()) v.fault = fmt::format("'{}' was changed", name);
    }
  } catch (const std::exception& e) {
    v.got = "an exception";
    v.fault = e.what();
  }
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (!at::equal(given[i], shown[i])) v.fault = "the caller's input was written";
  }
  return v;
}

void run_corpus(const std::string& title, const std::vector<Case>& cases) {
  std::set<std::string> names;
  std::map<std::string, std::string> examples;  // a message per code
  int unsafe_cases = 0;
  int caught = 0;
  int false_alarms = 0;
  fmt::print("\n{}\n{:<18} {:<46} {:<44} {}\n", title, "category", "name", "expected", "got");
  for (const Case& c : cases) {
    EXPECT_TRUE(names.insert(c.category + "/" + c.name).second) << "twice: " << c.name;
    const Verdict v = judge(c);
    fmt::print("{:<18} {:<46} {:<44} {}{}\n", c.category, c.name, expected(c), v.got,
               v.fault.empty() ? "" : "   <-- " + v.fault);
    std::fflush(stdout);
    if (c.unsafe) examples.try_emplace(std::string(code_name(c.code)), v.message);
    unsafe_cases += c.unsafe ? 1 : 0;
    caught += c.unsafe && v.fault.empty() ? 1 : 0;
    false_alarms += !c.unsafe && v.got != "accepted" ? 1 : 0;
    EXPECT_EQ(v.fault, "") << c.category << "/" << c.name << ": got " << v.got << "\n" << v.message;
  }
  fmt::print(
      "{} modules: {} of {} unsafe ones rejected with the right code and name, {} of {} safe "
      "ones rejected\n",
      cases.size(), caught, unsafe_cases, false_alarms, cases.size() - unsafe_cases);
  for (const auto& [code, message] : examples) fmt::print("\n{}\n", message);
}

}  // namespace monograph::test
