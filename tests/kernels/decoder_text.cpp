#include "tests/kernels/decoder_text.h"

#include <fmt/format.h>

namespace kernels_test {
namespace {

/// Lines of the text, values named as they are added.
class Writer {
 public:
  explicit Writer(const Decoder& d) : d_(d) {}

  std::string run() {
    text_ = "graph decoder {\n";
    line("token", fmt::format("i64[{},1]", d_.batch), "placeholder[target=token]");
    line("position", "i64[1]", "placeholder[target=position]");
    tables();
    std::string x = "embedding";
    for (int i = 0; i < d_.layers; ++i) x = layer(i, x);
    head(x);
    return text_ + "}\n";
  }

 private:
  void line(const std::string& name, const std::string& type, const std::string& what) {
    text_ += fmt::format("  %{} : {} = {}\n", name, type, what);
  }
  void call(const std::string& name, const std::string& type, const std::string& op,
            const std::string& args, const std::string& kwargs = {},
            const std::string& writes = {}) {
    line(name, type,
         fmt::format("call_function[target=aten.{}{}](args = ({}), kwargs = {{{}}})", op, writes,
                     args, kwargs));
  }
  void weight(const std::string& name, const std::string& sizes, const char* kind = "parameter") {
    line(name, fmt::format("bf16[{}]", sizes),
         fmt::format("get_attr[target={}, kind={}]", name, kind));
  }
  std::string tensor(const std::string& sizes) const { return fmt::format("bf16[{}]", sizes); }
  void linear(const std::string& name, const std::string& x, std::int64_t n, std::int64_t k) {
    weight(name + "_w", fmt::format("{},{}", n, k));
    call(name, fmt::format("bf16[{},1,{}]", d_.batch, n), "linear.default",
         fmt::format("%{}, %{}_w", x, name));
  }
  void norm(const std::string& name, const std::string& x, const std::string& sizes,
            std::int64_t n) {
    weight(name + "_w", fmt::format("{}", n));
    call(name, tensor(sizes), "rms_norm.default",
         fmt::format("%{}, [{}], %{}_w, 1e-05", x, n, name));
  }

  void tables() {
    const std::int64_t s = d_.head_size;
    for (const std::string t : {"cos", "sin"}) {
      weight(t, fmt::format("{},{}", d_.keys, s), "buffer");
      call(t + "_row", fmt::format("bf16[1,{}]", s), "index_select.default",
           fmt::format("%{}, 0, %position", t));
      call(t + "_at", fmt::format("bf16[1,1,1,{}]{{alias=%{}_row}}", s, t), "view.default",
           fmt::format("%{}_row, [1, 1, 1, {}]", t, s));
    }
    call("arange", fmt::format("i64[{}]", d_.keys), "arange.default", fmt::format("{},", d_.keys),
         "dtype: torch.int64, layout: torch.strided, device: device(type='cpu')");
    call("le", fmt::format("bool[{}]", d_.keys), "le.Tensor", "%arange, %position");
    call("mask", fmt::format("bool[1,1,1,{}]{{alias=%le}}", d_.keys), "view.default",
         fmt::format("%le, [1, 1, 1, {}]", d_.keys));
    weight("embed_w", fmt::format("{},{}", d_.vocabulary, d_.hidden));
    call("embedding", tensor(fmt::format("{},1,{}", d_.batch, d_.hidden)), "embedding.default",
         "%embed_w, %token");
  }

  /// Splits the projection `x` into heads and turns them by the position; the result's name.
  std::string rotate(const std::string& p, const std::string& x, std::int64_t heads, bool turn) {
    const std::int64_t b = d_.batch;
    const std::int64_t s = d_.head_size;
    call(p + "_v", fmt::format("bf16[{},1,{},{}]{{alias=%{}}}", b, heads, s, x), "view.default",
         fmt::format("%{}, [{}, 1, {}, {}]", x, b, heads, s));
    const auto view = [&](const std::string& name, std::int64_t size, std::int64_t offset) {
      return fmt::format("bf16[{},{},1,{}]{{strides=[{},{},{},1]{}, alias=%{}}}", b, heads, size,
                         heads * s, s, heads * s,
                         offset == 0 ? "" : fmt::format(", offset={}", offset), name);
    };
    call(p + "_t", view(x, s, 0), "transpose.int", fmt::format("%{}_v, 1, 2", p));
    if (!turn) return p + "_t";
    std::string base = x;
    std::string from = p + "_t";
    if (d_.head_norms) {
      base = from = p + "_n";
      weight(p + "_n_w", fmt::format("{}", s));
      call(from,
           fmt::format("bf16[{},{},1,{}]{{strides=[{},{},{},1]}}", b, heads, s, heads * s, s,
                       heads * s),
           "rms_norm.default", fmt::format("%{0}_t, [{1}], %{0}_n_w, 1e-05", p, s));
    }
    const std::string half = fmt::format("bf16[{},{},1,{}]", b, heads, s / 2);
    const std::string whole = fmt::format("bf16[{},{},1,{}]", b, heads, s);
    call(p + "_hi", view(base, s / 2, s / 2), "slice.Tensor",
         fmt::format("%{}, -1, {}", from, s / 2));
    call(p + "_neg", half, "neg.default", fmt::format("%{}_hi,", p));
    call(p + "_lo", view(base, s / 2, 0), "slice.Tensor",
         fmt::format("%{}, -1, 0, {}", from, s / 2));
    call(p + "_cat", whole, "cat.default", fmt::format("[%{0}_neg, %{0}_lo], -1", p));
    call(p + "_sin", whole, "mul.Tensor", fmt::format("%{}_cat, %sin_at", p));
    call(p + "_cos", whole, "mul.Tensor", fmt::format("%{}, %cos_at", from));
    call(p + "_r", whole, "add.Tensor", fmt::format("%{0}_cos, %{0}_sin", p));
    return p + "_r";
  }

  std::string store(const std::string& p, const std::string& what) {
    const std::string sizes =
        fmt::format("{},{},{},{}", d_.batch, d_.kv_heads, d_.keys, d_.head_size);
    weight(p + "_cache", sizes, "state");
    call(p + "_now", fmt::format("bf16[{}]{{alias=%{}_cache}}", sizes, p), "index_copy_.default",
         fmt::format("%{}_cache, 2, %position, %{}", p, what), "",
         fmt::format(", writes=(%{}_cache,)", p));
    return p + "_now";
  }

  std::string layer(int i, const std::string& x) {
    const std::string l = fmt::format("l{}_", i);
    const std::int64_t b = d_.batch;
    const std::int64_t q = d_.heads * d_.head_size;
    const std::int64_t kv = d_.kv_heads * d_.head_size;
    const std::string wide = fmt::format("{},1,{}", b, d_.hidden);
    norm(l + "n1", x, wide, d_.hidden);
    linear(l + "q", l + "n1", q, d_.hidden);
    linear(l + "k", l + "n1", kv, d_.hidden);
    linear(l + "v", l + "n1", kv, d_.hidden);
    const std::string key = rotate(l + "k", l + "k", d_.kv_heads, true);
    const std::string value = rotate(l + "v", l + "v", d_.kv_heads, false);
    const std::string k = store(l + "kc", key);
    const std::string v = store(l + "vc", value);
    const std::string query = rotate(l + "q", l + "q", d_.heads, true);
    call(l + "a", fmt::format("bf16[{},{},1,{}]", b, d_.heads, d_.head_size),
         "scaled_dot_product_attention.default", fmt::format("%{}, %{}, %{}, %mask", query, k, v),
         "enable_gqa: True");
    call(l + "at",
         fmt::format("bf16[{},1,{},{}]{{strides=[{},{},{},1], alias=%{}a}}", b, d_.heads,
                     d_.head_size, q, d_.head_size, d_.head_size, l),
         "transpose.int", fmt::format("%{}a, 1, 2", l));
    call(l + "av", fmt::format("bf16[{},1,{}]{{alias=%{}a}}", b, q, l), "view.default",
         fmt::format("%{}at, [{}, 1, {}]", l, b, q));
    linear(l + "o", l + "av", d_.hidden, q);
    call(l + "r", tensor(wide), "add.Tensor", fmt::format("%{}, %{}o", x, l));
    norm(l + "n2", l + "r", wide, d_.hidden);
    linear(l + "up", l + "n2", d_.ffn, d_.hidden);
    linear(l + "gate", l + "n2", d_.ffn, d_.hidden);
    const std::string ffn = tensor(fmt::format("{},1,{}", b, d_.ffn));
    call(l + "silu", ffn, "silu.default", fmt::format("%{}gate,", l));
    call(l + "act", ffn, "mul.Tensor", fmt::format("%{0}silu, %{0}up", l));
    linear(l + "down", l + "act", d_.hidden, d_.ffn);
    call(l + "out", tensor(wide), "add.Tensor", fmt::format("%{0}r, %{0}down", l));
    return l + "out";
  }

  void head(const std::string& x) {
    const std::int64_t b = d_.batch;
    norm("last", x, fmt::format("{},1,{}", b, d_.hidden), d_.hidden);
    const std::string type = fmt::format("bf16[{},1,{}]", b, d_.vocabulary);
    if (d_.tied) {
      call("logits", type, "linear.default", "%last, %embed_w");
    } else {
      linear("logits", "last", d_.vocabulary, d_.hidden);
    }
    call("squeeze", fmt::format("bf16[{},{}]{{alias=%logits}}", b, d_.vocabulary), "squeeze.dim",
         "%logits, 1");
    call("next", fmt::format("i64[{},1]", b), "argmax.default", "%squeeze, -1, True");
    text_ += "  return (%next, %squeeze)\n";
  }

  const Decoder& d_;
  std::string text_;
};

}  // namespace

double Decoder::bytes(std::int64_t valid) const {
  const std::int64_t q = heads * head_size;
  const std::int64_t kv = kv_heads * head_size;
  const std::int64_t layer = hidden * (q + 2 * kv) + q * hidden + 3 * hidden * ffn;
  const std::int64_t cache = batch * 2 * kv * valid;
  return 2.0 * static_cast<double>(layers * (layer + cache) + vocabulary * hidden);
}

Decoder llama_1b(std::int64_t batch) {
  return {"llama-3.2-1b", 16, 2048, 32, 8, 64, 8192, 128256, 2048, batch, false, true};
}
Decoder llama_8b(std::int64_t batch) {
  return {"llama-3.1-8b", 32, 4096, 32, 8, 128, 14336, 128256, 2048, batch, false, false};
}
Decoder qwen3_0_6b(std::int64_t batch) {
  return {"qwen3-0.6b", 28, 1024, 16, 8, 128, 3072, 151936, 2048, batch, true, true};
}

std::string decoder_text(const Decoder& d) {
  return Writer(d).run();
}

}  // namespace kernels_test
