// Reading sentences, finding similar ones, finding the model.
#include "bench/minilm/sentences.h"

#include <ATen/ops/eye.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "bench/minilm/locate.h"
#include "bench/minilm/similarity.h"
#include "tests/minilm/minilm_files.h"

namespace monograph::bench {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidFile);
    return error.message();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(Sentences, AreTheTrimmedLinesThatAreNotBlank) {
  EXPECT_THAT(split_sentences("\xEF\xBB\xBF one \r\n\n \t\ntwo\nthree", "x"),
              ElementsAre("one", "two", "three"));
  EXPECT_GE(split_sentences(shipped_sentences(), "shipped").size(), 20u);
}

TEST(Sentences, ErrorsNameSourceAndLine) {
  EXPECT_THAT(refusal([] { split_sentences("", "f.txt"); }),
              AllOf(HasSubstr("f.txt"), HasSubstr("at least two sentences"), HasSubstr("got 0")));
  EXPECT_THAT(refusal([] { split_sentences("one\n\n", "f.txt"); }), HasSubstr("got 1"));
  EXPECT_THAT(refusal([] { split_sentences("one\ntw\xffo\n", "f.txt"); }),
              HasSubstr("f.txt: line 2: not valid UTF-8 at byte 3"));
}

TEST(Sentences, UnreadableFilesAreRefused) {
  const auto folder =
      std::filesystem::path(::testing::TempDir()) / ("sentences_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  EXPECT_THAT(refusal([&] { read_sentences(folder); }), HasSubstr("is a directory"));
  EXPECT_THAT(refusal([&] { read_sentences(folder / "absent"); }), HasSubstr("No such file"));
  std::ofstream(folder / "large").close();
  std::filesystem::resize_file(folder / "large", (16u << 20) + 1);
  EXPECT_THAT(refusal([&] { read_sentences(folder / "large"); }), HasSubstr("at most 16777216"));
  std::ofstream(folder / "empty").close();
  EXPECT_THAT(refusal([&] { read_sentences(folder / "empty"); }), HasSubstr("got 0"));
  std::ofstream(folder / "two") << "one\ntwo\n";
  EXPECT_THAT(read_sentences(folder / "two"), ElementsAre("one", "two"));
  std::filesystem::remove_all(folder);
}

TEST(Similarity, PairsAreOrderedByCosineThenIndex) {
  const auto rows = at::eye(4);
  float* const last = rows.mutable_data_ptr<float>() + 12;
  last[1] = 0.8F;
  last[2] = 0.6F;
  last[3] = 0.0F;
  const auto pairs = most_similar(rows, 3);
  ASSERT_EQ(pairs.size(), 3u);
  EXPECT_EQ(pairs[0].first, 1u);
  EXPECT_EQ(pairs[0].second, 3u);
  EXPECT_FLOAT_EQ(pairs[0].cosine, 0.8F);
  EXPECT_EQ(pairs[1].first, 2u);
  EXPECT_EQ(pairs[1].second, 3u);
  EXPECT_EQ(pairs[2].first, 0u) << "equal cosines come in order of their indices";
  EXPECT_EQ(pairs[2].second, 1u);
  EXPECT_EQ(most_similar(rows, 100).size(), 6u);
}

TEST(Locate, TheModelIsFoundInItsFolderOrItsPackage) {
  const auto folder = model_folder();
  EXPECT_EQ(find_model_folder(folder.string()), folder);
  if (folder.filename() == "model") {
    EXPECT_EQ(find_model_folder(folder.parent_path().string()), folder);
  }
  EXPECT_THAT(refusal([] { find_model_folder("/nowhere"); }),
              AllOf(HasSubstr("/nowhere"), HasSubstr("--model")));
}

TEST(Locate, APythonThatIsNamedIsTaken) {
  EXPECT_EQ(find_python("/some/python"), "/some/python");
  EXPECT_FALSE(find_python("").empty());
}

}  // namespace
}  // namespace monograph::bench
