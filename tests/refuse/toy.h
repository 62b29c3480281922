// Small modules that are unsafe in one way each, their safe twins, and what must come of them.
#pragma once

#include <ATen/core/Tensor.h>
#include <monograph/compiled_module.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace monograph::test {

using Tensors = std::vector<at::Tensor>;

/// What a forward is given.
struct In {
  at::Tensor x;    ///< f32[4,4]
  at::Tensor ids;  ///< i64[4], all different, each a row of `x`
};

/// A module with one of everything that a forward may touch. The same seed, the same toy.
struct Toy {
  using Body = std::function<Tensors(Toy&, const In&)>;

  explicit Toy(Body b, unsigned seed = 7);

  Tensors forward(const Tensors& in) { return body(*this, {in[0], in[1]}); }
  std::vector<NamedTensor> tensors() const;
  Module module();
  /// Every tensor here, by name; undefined ones are left out.
  std::map<std::string, at::Tensor> everything() const;

  Body body;
  at::Tensor weight, bias;             // parameters: [4,4], [4]
  at::Tensor count, deviation, cache;  // buffers: [4], [4], [4,4]
  at::Tensor tied;                     // a parameter on the memory of `weight`
  at::Tensor outside, other;           // plain members, [4], equal values
  at::Tensor transposed;               // a view of `weight` taken at construction
  at::Tensor member;                   // a plain member, undefined at first
  at::Tensor late;                     // a buffer that isn't registered at first
  Tensors history;                     // plain members that a forward may add to
  std::vector<float> host = {1, 2, 3, 4};
  int calls = 0;
};

struct Case {
  std::string category;
  std::string name;
  bool unsafe = false;
  Code code = Code::kInternal;  ///< of the rejection
  std::string subject;          ///< exact; "*" if any will do
  Toy::Body body;
  std::function<void(Options&, Toy&)> configure = {};
  std::function<void(Module&, Tensors&)> twist = {};  ///< of module and example inputs
};

Case unsafe(std::string category, std::string name, Code code, std::string subject, Toy::Body body,
            std::function<void(Options&, Toy&)> configure = {},
            std::function<void(Module&, Tensors&)> twist = {});
Case safe(std::string category, std::string name, Toy::Body body,
          std::function<void(Options&, Toy&)> configure = {},
          std::function<void(Module&, Tensors&)> twist = {});

/// Fresh random inputs.
Tensors draw_inputs();

/// What came of one case: "accepted" or "RejectedMutation 'count'", and what was wrong with it
/// (empty: nothing). A safe case must give eager's outputs and leave eager's state in three calls
/// on three inputs; an unsafe one must be refused as expected, twice with one trace, and leave
/// every tensor as it was.
struct Verdict {
  std::string got;
  std::string fault;
  std::string message;  ///< of the rejection
};
Verdict judge(const Case& c);
std::string expected(const Case& c);

/// Judges all, prints the table (category, name, expected, got) and fails for every row at fault.
void run_corpus(const std::string& title, const std::vector<Case>& cases);

}  // namespace monograph::test
