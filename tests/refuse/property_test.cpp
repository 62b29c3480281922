// Generated writes: every operator through random chains of views into every kind of tensor. What
// must happen is decided by running forward eagerly and looking at what it changed.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/refuse/toy.h"

namespace monograph::test {
namespace {

using at::Tensor;

struct View {
  const char* name;
  Tensor (*apply)(const Tensor&);
};
/// Each leaves at least one element of at least one dimension.
constexpr View kViews[] = {
    {"t", [](const Tensor& v) { return v.dim() == 2 ? v.t() : v.unsqueeze(0); }},
    {"select", [](const Tensor& v) { return v.dim() > 1 ? v.select(0, v.size(0) - 1) : v; }},
    {"slice", [](const Tensor& v) { return v.slice(0, v.size(0) / 2); }},
    {"narrow", [](const Tensor& v) { return v.narrow(-1, 0, (v.size(-1) + 1) / 2); }},
    {"step", [](const Tensor& v) { return v.slice(-1, 0, v.size(-1), 2); }},
    {"detach", [](const Tensor& v) { return v.detach(); }},
    {"data", [](const Tensor& v) { return v.data(); }},
    {"unsqueeze", [](const Tensor& v) { return v.unsqueeze(-1); }},
    {"flatten", [](const Tensor& v) { return v.is_contiguous() ? v.view({-1}) : v; }},
    {"chunk", [](const Tensor& v) { return v.chunk(2, 0).back(); }},
    {"unbind", [](const Tensor& v) { return v.dim() > 1 ? v.unbind(0).front() : v; }},
    {"diagonal", [](const Tensor& v) { return v.dim() > 1 ? v.diagonal() : v; }},
    {"expand_as", [](const Tensor& v) { return v.expand_as(v); }},
    {"movedim", [](const Tensor& v) { return v.movedim(0, -1); }},
    {"clone", [](const Tensor& v) { return v.clone(); }},  // no view: what follows is safe
};

struct Write {
  const char* name;
  void (*apply)(const Tensor&);
};
/// Each changes whatever it is given.
constexpr Write kWrites[] = {
    {"add_", [](const Tensor& v) { v.add_(1); }},
    {"mul_", [](const Tensor& v) { v.mul_(2.5).add_(3); }},
    {"fill_", [](const Tensor& v) { v.fill_(17.25); }},
    {"copy_", [](const Tensor& v) { v.copy_(v.clone() + 2); }},
    {"neg_", [](const Tensor& v) { v.sub_(100).neg_(); }},
    {"masked_fill_", [](const Tensor& v) { v.masked_fill_(at::ones_like(v).gt(0), -42); }},
    {"add.out",
     [](const Tensor& v) {
       Tensor out = v;
       at::add_out(out, v, at::ones_like(v), 3);
     }},
    {"index_fill_",
     [](const Tensor& v) { v.index_fill_(0, at::arange(v.size(0), at::kLong), 11); }},
    {"foreach", [](const Tensor& v) { at::_foreach_add_({v}, 5); }},
    {"host pointer", [](const Tensor& v) { static_cast<float*>(v.mutable_data_ptr())[0] += 1; }},
    {"nothing", [](const Tensor&) {}},
};

struct Target {
  const char* name;
  Tensor (*pick)(Toy&, const In&);
};
constexpr Target kTargets[] = {
    {"parameter", [](Toy& t, const In&) { return t.weight; }},
    {"buffer", [](Toy& t, const In&) { return t.cache; }},
    {"constant", [](Toy& t, const In&) { return t.outside; }},
    {"input", [](Toy&, const In& in) { return in.x; }},
    {"intermediate", [](Toy&, const In& in) { return in.x * 2; }},
    {"clone", [](Toy& t, const In&) { return t.weight.clone(); }},
    {"fresh",
     [](Toy&, const In&) {
       return at::zeros({4, 4});
     }},
};

struct Recipe {
  Target target;
  std::vector<View> views;
  Write write;

  Tensors operator()(Toy& toy, const In& in) const {
    const Tensor whole = target.pick(toy, in);
    Tensor v = whole;
    for (const View& view : views) v = view.apply(v);
    write.apply(v);
    return {in.x + whole.sum(), v * 2, whole * 1};
  }
  std::string text() const {
    std::string s = target.name;
    for (const View& view : views) s += fmt::format(".{}", view.name);
    return fmt::format("{} <- {}", s, write.name);
  }
};

Recipe draw_recipe(std::mt19937& draw) {
  const auto pick = [&draw](const auto& from) { return from[draw() % std::size(from)]; };
  Recipe r{pick(kTargets), {}, pick(kWrites)};
  const std::size_t length = draw() % 4;
  for (std::size_t i = 0; i < length; ++i) r.views.push_back(pick(kViews));
  return r;
}

/// The lasting tensor that eager's forward changed: its name as a rejection calls it, or empty.
std::string changed_by_eager(const Recipe& recipe) {
  Toy toy(recipe);
  const Tensors inputs = draw_inputs();
  const Tensor x = inputs[0].clone();
  std::map<std::string, Tensor> before;
  for (const auto& [name, tensor] : toy.everything()) before.emplace(name, tensor.clone());
  const c10::NoGradGuard no_grad;
  (void)toy.forward(inputs);
  if (!at::equal(inputs[0], x)) return "x";
  for (const auto& [name, tensor] : toy.everything()) {
    if (at::equal(before.at(name), tensor)) continue;
    return name == "outside" ? "_tensor_constant0" : name == "tied" ? "weight" : name;
  }
  return {};
}

/// Host code that writes what operators made is refused as something a graph can't hold, or, in
/// fresh memory, becomes a constant.
bool host_write_into_own_memory(const Recipe& r, const std::string& changed) {
  return std::string_view(r.write.name) == "host pointer" && changed.empty();
}

class GeneratedWrites : public ::testing::TestWithParam<unsigned> {};

TEST_P(GeneratedWrites, AreJudgedAsEagerSays) {
  constexpr int kRecipes = 150;
  std::mt19937 draw(GetParam());
  int unsafe_recipes = 0;
  int safe_recipes = 0;
  for (int i = 0; i < kRecipes; ++i) {
    const Recipe recipe = draw_recipe(draw);
    const std::string changed = changed_by_eager(recipe);
    if (host_write_into_own_memory(recipe, changed)) continue;
    const Case c = changed.empty() ? safe("generated", recipe.text(), recipe)
                                   : unsafe("generated", recipe.text(), Code::kRejectedMutation,
                                            changed, recipe);
    ++(c.unsafe ? unsafe_recipes : safe_recipes);
    const Verdict v = judge(c);
    EXPECT_EQ(v.fault, "") << recipe.text() << ": expected " << expected(c) << ", got " << v.got
                           << "\n"
                           << v.message;
  }
  RecordProperty("unsafe", unsafe_recipes);
  RecordProperty("safe", safe_recipes);
  fmt::print("{} unsafe and {} safe recipes\n", unsafe_recipes, safe_recipes);
  EXPECT_GT(unsafe_recipes, kRecipes / 5);
  EXPECT_GT(safe_recipes, kRecipes / 5);
}

INSTANTIATE_TEST_SUITE_P(Seeds, GeneratedWrites, ::testing::Range(0U, 8U));

}  // namespace
}  // namespace monograph::test
