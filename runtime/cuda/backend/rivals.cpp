#include "runtime/cuda/backend/rivals.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>

#include "kernels/compile/digest.h"

namespace monograph::cuda {
namespace {

struct Rivals {
  std::string_view maker;
  std::array<std::string_view, 3> names;  ///< empty: none
};

/// Products differ in how the weights reach the arithmetic, attention in whether it uses the tensor
/// cores and in what it splits; which is faster depends on the shape and on the device.
constexpr std::array<Rivals, 2> kRivals{{
    {"products of few vectors 1", {"tiles", "gemv", "skinny_gemm"}},
    {"attention 1", {"prefill_attention", "attention"}},
}};

/// Those that do what kernel `name` does; null if there are none.
const Rivals* find_rivals(const std::string& name) {
  const auto at = std::ranges::find_if(
      kRivals, [&](const Rivals& r) { return std::ranges::find(r.names, name) != r.names.end(); });
  return at != kRivals.end() ? &*at : nullptr;
}

/// Every kernel that matches, the one that select chose first.
std::vector<kernels::Match> rivals_of(const kernels::Call& call, const kernels::Target& target,
                                      const Rivals& rivals, kernels::Match chosen) {
  std::vector<kernels::Match> out;
  out.push_back(std::move(chosen));
  for (const std::string_view name : rivals.names) {
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

/// Bytes from a tensor's first element to its last, whatever lies between them.
std::size_t extent(const kernels::TensorDesc& t) {
  std::int64_t last = 0;
  for (std::size_t d = 0; d < t.sizes.size(); ++d) last += (t.sizes[d] - 1) * t.strides[d];
  return static_cast<std::size_t>((last + 1) * kernels::itemsize(t.dtype));
}

/// Inputs, outputs, then scratch, which all alternatives share.
std::vector<Operand> operands_of(const kernels::Call& call,
                                 const std::vector<kernels::Match>& rivals) {
  std::vector<Operand> out;
  for (const kernels::TensorDesc& t : call.inputs) {
    out.push_back({extent(t), t.constant ? Operand::Role::kCold : Operand::Role::kWarm});
  }
  for (const kernels::TensorDesc& t : call.outputs) {
    out.push_back({extent(t), Operand::Role::kWarm});
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
  if (!chosen.instance || !tuner.on()) return chosen;
  const Rivals* const known = find_rivals(chosen.instance->kernel);
  if (known == nullptr) return chosen;
  std::vector<kernels::Match> rivals = rivals_of(call, target, *known, std::move(chosen));
  if (rivals.size() < 2) return std::move(rivals.front());
  // Sources say everything about the problem and about what is timed for it.
  kernels::Digest digest;
  for (const kernels::Match& m : rivals) digest.add(m.instance->kernel).add(m.instance->text);
  TuningProblem problem{fmt::format("{} {}", call.op, digest.hex()),
                        std::string(known->maker),
                        operands_of(call, rivals),
                        {}};
  for (const kernels::Match& m : rivals) {
    problem.alternatives.push_back(alternative(*m.instance, call, target, compiler, context));
  }
  const TuningChoice choice = tuner.choose(problem);
  kernels::Match& best = rivals[choice.index];
  best.reason = fmt::format("{} ({})", best.instance->kernel, choice.reason);
  return std::move(best);
}

}  // namespace monograph::cuda
