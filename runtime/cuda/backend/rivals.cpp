#include "runtime/cuda/backend/rivals.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>

#include "kernels/compile/digest.h"

namespace monograph::cuda {
namespace {

/// They differ in how the weights reach the arithmetic, and which is faster depends on the shape
/// and on the memory of the device.
constexpr std::array<std::string_view, 3> kRivals{"tiles", "gemv", "skinny_gemm"};
constexpr const char* kMaker = "products of few vectors 1";

bool is_rival(const std::string& name) {
  return std::ranges::find(kRivals, name) != kRivals.end();
}

/// Every kernel that matches, the one that select chose first.
std::vector<kernels::Match> rivals_of(const kernels::Call& call, const kernels::Target& target,
                                      kernels::Match chosen) {
  std::vector<kernels::Match> out;
  out.push_back(std::move(chosen));
  for (const std::string_view name : kRivals) {
    if (name == out.front().instance->kernel) continue;
    const kernels::Definition* d = kernels::find_definition(name);
    if (d == nullptr) continue;
    kernels::Match m = d->match(call, target);
    if (!m.instance) continue;
    m.instance->kernel = d->name;
    out.push_back(std::move(m));
  }
  return out;
}

/// Inputs, outputs, then scratch, which all alternatives share.
std::vector<Operand> operands_of(const kernels::Call& call,
                                 const std::vector<kernels::Match>& rivals) {
  std::vector<Operand> out;
  for (const kernels::TensorDesc& t : call.inputs) {
    out.push_back({static_cast<std::size_t>(t.nbytes()),
                   t.constant ? Operand::Role::kCold : Operand::Role::kWarm});
  }
  for (const kernels::TensorDesc& t : call.outputs) {
    out.push_back({static_cast<std::size_t>(t.nbytes()), Operand::Role::kWarm});
  }
  std::int64_t workspace = 0;
  std::int64_t state = 0;
  for (const kernels::Match& m : rivals) {
    workspace = std::max(workspace, m.instance->workspace_bytes);
    state = std::max(state, m.instance->state_bytes);
  }
  out.push_back({static_cast<std::size_t>(workspace), Operand::Role::kWarm});
  out.push_back({static_cast<std::size_t>(state), Operand::Role::kState});
  return out;
}

ParamValue param(const kernels::Param& p, const kernels::Call& call,
                 std::span<const CUdeviceptr> operands) {
  const auto index = static_cast<std::size_t>(p.index);
  std::size_t at = index;
  switch (p.kind) {
    case kernels::Param::Kind::kScalar:
      return p.bytes;
    case kernels::Param::Kind::kInput:
      break;
    case kernels::Param::Kind::kOutput:
      at = call.inputs.size() + index;
      break;
    case kernels::Param::Kind::kWorkspace:
      at = operands.size() - 2;
      break;
    case kernels::Param::Kind::kState:
      at = operands.size() - 1;
      break;
  }
  return Address::fixed(operands[at] + static_cast<CUdeviceptr>(p.byte_offset));
}

/// A kernel with the code that it keeps loaded.
struct Loaded {
  Library library;
  Kernel kernel;
};

Alternative alternative(const kernels::Instance& instance, const kernels::Call& call,
                        const kernels::Target& target, const kernels::Compiler& compiler,
                        const ContextRef& context) {
  const auto loaded = std::make_shared<Loaded>();
  return {instance.kernel, [loaded, &instance, &call, &target, &compiler,
                            &context](std::span<const CUdeviceptr> on) {
            if (!loaded->library) {
              const kernels::Compiled c = compiler.compile(instance, target.arch);
              loaded->library = Library::load(context, c.image);
              loaded->kernel = loaded->library.kernel(c.entry);
              loaded->kernel.allow_dynamic_shared(instance.geometry.dynamic_shared_bytes);
            }
            KernelWork k;
            k.kernel = loaded->kernel;
            k.grid = instance.geometry.grid;
            k.block = instance.geometry.block;
            k.dynamic_shared_bytes = instance.geometry.dynamic_shared_bytes;
            k.programmatic = instance.geometry.programmatic && target.has_programmatic_launch;
            for (const kernels::Param& p : instance.params) k.params.push_back(param(p, call, on));
            return Work{-1, instance.kernel, std::move(k)};
          }};
}

}  // namespace

kernels::Match select_timed(const kernels::Call& call, const kernels::Target& target,
                            const kernels::Compiler& compiler, const ContextRef& context,
                            Tuner& tuner) {
  kernels::Match chosen = kernels::select(call, target);
  if (!chosen.instance || !tuner.on() || !is_rival(chosen.instance->kernel)) return chosen;
  std::vector<kernels::Match> rivals = rivals_of(call, target, std::move(chosen));
  if (rivals.size() < 2) return std::move(rivals.front());
  // Sources say everything about the problem and about what is timed for it.
  kernels::Digest digest;
  for (const kernels::Match& m : rivals) digest.add(m.instance->kernel).add(m.instance->text);
  TuningProblem problem{
      fmt::format("{} {}", call.op, digest.hex()), kMaker, operands_of(call, rivals), {}};
  for (const kernels::Match& m : rivals) {
    problem.alternatives.push_back(alternative(*m.instance, call, target, compiler, context));
  }
  const TuningChoice choice = tuner.choose(problem);
  kernels::Match& best = rivals[choice.index];
  best.reason = fmt::format("{} ({})", best.instance->kernel, choice.reason);
  return std::move(best);
}

}  // namespace monograph::cuda
