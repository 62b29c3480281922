// Runs a graph on plain memory, node by node, so that tests can compare a graph before and after
// passes, aliasing and effects included. No torch.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "capture/ir/graph.h"
#include "capture/passes/pass.h"

namespace monograph::passes::testing {

/// Contents of a storage: the element at byte b is in cell b, whatever its dtype.
using Memory = std::vector<double>;

/// Contents of inputs and weights, by storage name: made up from name and seed unless set.
class Contents {
 public:
  explicit Contents(std::uint64_t seed) : seed_(seed) {}
  Memory of(const ir::Storage& storage) const;
  void set(const std::string& name, Memory memory) { given_[name] = std::move(memory); }

 private:
  std::uint64_t seed_;
  std::map<std::string, Memory> given_;
};

struct Tensor {
  std::vector<std::int64_t> sizes;
  std::vector<double> elements;                // row-major
  bool operator==(const Tensor& other) const;  // bit by bit
};

struct Outcome {
  std::vector<Tensor> outputs;             // in order of the output's leaves
  std::map<std::string, Memory> state;     // after the run, by name
  std::set<std::int32_t> output_storages;  // distinct storages of the outputs
};

/// A run over memory. Fresh storages start with garbage made from `poison`, so that two runs with
/// different poison differ if anything undefined is read.
///
/// add, sub, mul, div, relu, neg, rsqrt, pow, mean, softmax, rms_norm, cat, masked_fill, logical
/// not, fills, copies, mm, matmul, bmm, addmm, linear, scaled_dot_product_attention, 1 x 1
/// convolutions and eval-mode batch_norm mean what they mean in torch, and fusions what their
/// subgraphs do; random operators draw from one sequence in execution order; any other operator is
/// an arbitrary but fixed function of its name (without a trailing "_"), its scalars and its
/// tensors: element by element if they broadcast to the result, else of all elements at once.
class Machine {
 public:
  Machine(const ir::Graph& graph, const Contents& contents, std::uint64_t poison);
  void run();
  void execute(const ir::Node& node);
  Tensor read(const ir::Value& value) const;
  const Memory& memory(ir::StorageId id) const;
  Outcome outcome() const;

 private:
  bool alive(ir::StorageId id) const;
  void call(const ir::Node& node);
  void define(const ir::Node& node);
  void write(const ir::Value& value, const Tensor& tensor);
  void fusion(const ir::Node& node);
  Tensor compute(const ir::Node& node, std::size_t result);
  std::vector<Tensor> operands(const ir::Node& node) const;

  const ir::Graph& graph_;
  const Contents& contents_;
  std::uint64_t poison_;
  std::uint64_t drawn_ = 0;
  std::vector<std::optional<Memory>> storages_;
};

Outcome interpret(const ir::Graph& graph, const Contents& contents, std::uint64_t poison);

/// Folds constants with the machine; what it makes is added to `contents`.
class Evaluator : public ConstantEvaluator {
 public:
  explicit Evaluator(std::vector<Contents*> contents) : contents_(std::move(contents)) {}
  std::optional<std::vector<FoldedConstant>> evaluate(const ir::Node& node) override;
  void discard(const std::string& attr) override { discarded.push_back(attr); }

  std::int64_t largest = 1 << 20;      ///< declines results of more bytes
  std::vector<std::string> evaluated;  ///< targets, in order
  std::vector<std::string> discarded;

 private:
  std::vector<Contents*> contents_;
  int made_ = 0;
};

}  // namespace monograph::passes::testing
