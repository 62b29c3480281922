#include "bench/minilm/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/minilm/text.h"
#include "tests/minilm/minilm_files.h"

namespace monograph::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string message_of(const std::function<void()>& call, Code code) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.message();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(Tokenizer, AgreesWithHuggingFaceOnEveryReferenceText) {
  const auto tokenizer = Tokenizer::load(model_file("vocab.txt"));
  const auto cases = nlohmann::json::parse(std::ifstream(data_file("tokenizer.json")));
  ASSERT_GT(cases.size(), 200u);
  for (const auto& c : cases) {
    const auto text = c.at("text").get<std::string>();
    EXPECT_EQ(tokenizer.encode(text, c.at("max_length")),
              c.at("ids").get<std::vector<std::int64_t>>())
        << c.at("text");
  }
}

TEST(Tokenizer, SplitsWordsAndFoldsThem) {
  EXPECT_THAT(bert_words("Crème  BRÛLÉE, 3.5€!"),
              ElementsAre("creme", "brulee", ",", "3", ".", "5€", "!"));
  EXPECT_THAT(bert_words("我爱 ok"), ElementsAre("我", "爱", "ok"));
  EXPECT_THAT(bert_words("\x01\xe2\x80\x8b \t"), IsEmpty());
}

TEST(Tokenizer, FindsInvalidUtf8) {
  EXPECT_EQ(find_invalid_utf8("grün 😀"), std::string::npos);
  EXPECT_EQ(find_invalid_utf8("ab\xff"), 2u);
  EXPECT_EQ(find_invalid_utf8("a\xc3"), 1u);
  EXPECT_EQ(find_invalid_utf8("\xed\xa0\x80"), 0u) << "a surrogate";
  EXPECT_EQ(find_invalid_utf8("\xc0\xaf"), 0u) << "an overlong form";
}

TEST(Tokenizer, RefusesInvalidTextAndLength) {
  const auto tokenizer = Tokenizer::load(model_file("vocab.txt"));
  EXPECT_THAT(message_of([&] { tokenizer.encode("abc\xc3(", 16); }, Code::kInvalidArgument),
              HasSubstr("not valid UTF-8"));
  EXPECT_THAT(message_of([&] { tokenizer.encode("abc", 1); }, Code::kInvalidArgument),
              HasSubstr("at least 2, got 1"));
}

TEST(Tokenizer, RefusesBrokenVocabularies) {
  const auto path = std::filesystem::path(::testing::TempDir()) /
                    ("vocabulary_" + std::to_string(::getpid()) + ".txt");
  const auto refusal = [&](const std::string& text) {
    std::ofstream(path) << text;
    return message_of([&] { Tokenizer::load(path); }, Code::kInvalidFile);
  };
  EXPECT_THAT(refusal("[PAD]\n[UNK]\n[CLS]\nword\n"), HasSubstr("lacks the token [SEP]"));
  EXPECT_THAT(refusal("[PAD]\nword\nword\n"), HasSubstr("line 3 repeats the token of line 2"));
  EXPECT_THAT(refusal("[PAD]\n\nword\n"), HasSubstr("line 2 is empty"));
  EXPECT_THAT(refusal(""), HasSubstr("lacks the token [PAD]"));
  std::filesystem::remove(path);
  EXPECT_THAT(message_of([&] { Tokenizer::load(path); }, Code::kInvalidFile),
              HasSubstr("can't be opened"));
}

}  // namespace
}  // namespace monograph::bench
