// The messages shown in docs/errors.md are what the code says: a real one per kind of rejection.
//
// A block after `<!-- message: NAME -->` on that page has to equal the message of case NAME here;
// with MONOGRAPH_FIX_DOCS=1 in the environment the page is changed instead.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <monograph/region.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "tests/refuse/toy.h"

namespace monograph::test {
namespace {

using at::Tensor;

Case shown(std::string name, Code code, std::string subject, Toy::Body body,
           std::function<void(Options&, Toy&)> configure = {},
           std::function<void(Module&, Tensors&)> twist = {}) {
  return unsafe("docs", std::move(name), code, std::move(subject), std::move(body),
                std::move(configure), std::move(twist));
}

Tensors counting(Toy& t, const In& in) {
  const Region region("encoder.layer.0");
  const Tensor y = at::matmul(in.x, t.weight);
  t.count.add_(1);
  return {y + t.count};
}

const std::vector<Case> kShown = {
    shown("RejectedMutation", Code::kRejectedMutation, "count", &counting),
    shown("RejectedMutation by host code", Code::kRejectedMutation, "count",
          [](Toy& t, const In& in) -> Tensors {
            const Tensor y = at::matmul(in.x, t.weight);
            t.count.mutable_data_ptr<float>()[0] += 1;
            return {y + t.count};
          }),
    shown(
        "RejectedMutation with guarded weights", Code::kRejectedMutation, "count",
        [](Toy& t, const In& in) -> Tensors {
          const Tensor y = at::matmul(in.x, t.weight);
          return {y + t.count.data_ptr<float>()[0]};
        },
        [](Options& o, Toy&) { o.guard_weights = true; }),
    shown("RejectedRebinding", Code::kRejectedRebinding, "count",
          [](Toy& t, const In& in) -> Tensors {
            t.count = t.count + 1;
            return {in.x + t.count};
          }),
    shown("RejectedRebinding of a plain member", Code::kRejectedRebinding, "%mul",
          [](Toy& t, const In& in) -> Tensors {
            t.member = in.x * 2;
            return {t.member + 1};
          }),
    shown("RejectedDataDependence", Code::kRejectedDataDependence, "",
          [](Toy&, const In& in) -> Tensors { return {in.x * in.x.sum().item<float>()}; }),
    shown("RejectedDataDependence by a second forward", Code::kRejectedDataDependence, "",
          [](Toy&, const In& in) -> Tensors {
            const Tensor y = in.x * 2;
            return {in.ids.const_data_ptr<std::int64_t>()[0] % 2 == 0 ? y.relu() : y.tanh()};
          }),
    shown("RejectedDynamicShape", Code::kRejectedDynamicShape, "",
          [](Toy&, const In& in) -> Tensors { return {(in.x > 0).nonzero()}; }),
    shown("RejectedDivergence", Code::kRejectedDivergence, "",
          [](Toy& t, const In& in) -> Tensors { return {in.x + ++t.calls}; }),
    shown("RejectedDivergence of the first call", Code::kRejectedDivergence, "",
          [](Toy& t, const In& in) -> Tensors { return {t.calls++ == 0 ? in.x * 2 : in.x * 3}; }),
    shown("RejectedRandom", Code::kRejectedRandom, "",
          [](Toy&, const In& in) -> Tensors { return {at::dropout(in.x * 2, 0.1, true)}; }),
    shown("RejectedUnsupportedOp", Code::kRejectedUnsupportedOp, "",
          [](Toy&, const In& in) -> Tensors { return {in.x.to_sparse()}; }),
    shown("RejectedForeignThread", Code::kRejectedForeignThread, "",
          [](Toy&, const In& in) -> Tensors {
            Tensor y;
            std::thread([&] { y = in.x * 2; }).join();
            return {y + 1};
          }),
    shown(
        "RejectedAliasing", Code::kRejectedAliasing, "ids",
        [](Toy&, const In& in) -> Tensors { return {in.x + in.ids}; }, {},
        [](Module&, Tensors& in) { in[1] = in[0]; }),
    shown(
        "RejectedTraining", Code::kRejectedTraining, "encoder.dropout",
        [](Toy&, const In& in) -> Tensors { return {in.x * 2}; }, {},
        [](Module& m, Tensors&) { m.training_modules = {"encoder.dropout"}; }),
    shown("RejectedGlobalState", Code::kRejectedGlobalState, "grad mode",
          [](Toy&, const In& in) -> Tensors {
            c10::GradMode::set_enabled(!c10::GradMode::is_enabled());
            return {in.x * 2};
          }),
};

class Page {
 public:
  explicit Page(std::string path) : path_(std::move(path)) {
    std::ifstream in(path_);
    std::stringstream text;
    text << in.rdbuf();
    text_ = text.str();
  }
  /// Of the block that shows message `name`: where it begins and its length; npos if there is none.
  std::pair<std::size_t, std::size_t> block(const std::string& name) const {
    const std::string fence = "```\n";
    const std::size_t marker = text_.find(fmt::format("<!-- message: {} -->", name));
    if (marker == std::string::npos) return {marker, 0};
    const std::size_t begin = text_.find(fence, marker) + fence.size();
    return {begin, text_.find(fence, begin) - begin};
  }
  std::string shown(const std::string& name) const {
    const auto [begin, length] = block(name);
    return begin == std::string::npos ? "(no such block)" : text_.substr(begin, length);
  }
  void replace(const std::string& name, const std::string& message) {
    const auto [begin, length] = block(name);
    if (begin != std::string::npos) text_.replace(begin, length, message);
    std::ofstream(path_) << text_;
  }
  std::set<std::string> names() const {
    std::set<std::string> found;
    const std::string before = "<!-- message: ";
    for (std::size_t at = text_.find(before); at != std::string::npos;
         at = text_.find(before, at + 1)) {
      const std::size_t begin = at + before.size();
      found.insert(text_.substr(begin, text_.find(" -->", begin) - begin));
    }
    return found;
  }

 private:
  std::string path_;
  std::string text_;
};

TEST(Messages, OfTheErrorsPageAreWhatTheCodeSays) {
  const char* fix = std::getenv("MONOGRAPH_FIX_DOCS");
  Page page(MONOGRAPH_ERRORS_PAGE);
  std::set<std::string> names;
  for (const Case& c : kShown) {
    names.insert(c.name);
    const Verdict v = judge(c);
    EXPECT_EQ(v.fault, "") << c.name;
    const std::string message = v.message + (v.message.ends_with('\n') ? "" : "\n");
    if (fix != nullptr) page.replace(c.name, message);
    EXPECT_EQ(page.shown(c.name), message) << c.name;
  }
  EXPECT_EQ(page.names(), names) << "docs/errors.md shows others than are tested here";
}

TEST(Messages, EveryKindOfRejectionIsShown) {
  std::set<std::string_view> codes;
  for (const Case& c : kShown) codes.insert(code_name(c.code));
  for (int value = 100; value < 200; ++value) {
    const std::string_view name = code_name(static_cast<Code>(value));
    if (!name.starts_with("Rejected")) continue;
    EXPECT_TRUE(codes.contains(name)) << name;
  }
}

}  // namespace
}  // namespace monograph::test
