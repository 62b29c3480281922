"""The benchmark models of bench/models in PyTorch, with the same names of weights."""

import torch
import torch.nn.functional as F
from torch import nn


class Mlp(nn.Module):
    def __init__(self, depth=8, width=512):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return x


class BertLayer(nn.Module):
    def __init__(self, hidden, heads, wide, eps):
        super().__init__()
        self.heads = heads
        self.attention = nn.Module()
        self.attention.self = nn.ModuleDict({n: nn.Linear(hidden, hidden) for n in ("query", "key", "value")})
        self.attention.output = self.end(hidden, hidden, eps)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(hidden, wide)})
        self.output = self.end(wide, hidden, eps)

    @staticmethod
    def end(wide, hidden, eps):
        return nn.ModuleDict({"dense": nn.Linear(wide, hidden), "LayerNorm": nn.LayerNorm(hidden, eps=eps)})

    def forward(self, x, mask):
        def split(y):
            return y.view(y.size(0), y.size(1), self.heads, -1).transpose(1, 2)

        part = self.attention.self
        q, k, v = (split(part[n](x)) for n in ("query", "key", "value"))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        end = self.attention.output
        x = end["LayerNorm"](end["dense"](mixed) + x)
        return self.output["LayerNorm"](self.output["dense"](F.gelu(self.intermediate["dense"](x))) + x)


class Bert(nn.Module):
    def __init__(self, hidden=384, layers=6, heads=12, wide=1536, vocab=30522, positions=512, eps=1e-12):
        super().__init__()
        self.embeddings = nn.Module()
        self.embeddings.word_embeddings = nn.Embedding(vocab, hidden)
        self.embeddings.position_embeddings = nn.Embedding(positions, hidden)
        self.embeddings.token_type_embeddings = nn.Embedding(2, hidden)
        self.embeddings.LayerNorm = nn.LayerNorm(hidden, eps=eps)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(BertLayer(hidden, heads, wide, eps) for _ in range(layers))

    def forward(self, ids, attention_mask):
        e = self.embeddings
        positions = torch.arange(ids.size(1), device=ids.device)
        x = e.word_embeddings(ids) + e.position_embeddings(positions) + e.token_type_embeddings.weight[0]
        x = e.LayerNorm(x)
        mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * torch.finfo(torch.float32).min
        mask = mask.to(x.dtype)
        for layer in self.encoder.layer:
            x = layer(x, mask)
        weights = attention_mask.unsqueeze(-1).to(x.dtype)
        mean = (x * weights).sum(1) / weights.sum(1).clamp_min(1e-9)
        return F.normalize(mean, dim=-1, eps=1e-12)


class RmsNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class LlamaLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, d = c["hidden"], c["head_dim"]
        self.c = c
        self.self_attn = a = nn.Module()
        a.q_proj = nn.Linear(h, c["heads"] * d, bias=False)
        a.k_proj = nn.Linear(h, c["kv"] * d, bias=False)
        a.v_proj = nn.Linear(h, c["kv"] * d, bias=False)
        a.o_proj = nn.Linear(c["heads"] * d, h, bias=False)
        if c["qk_norm"]:
            a.q_norm, a.k_norm = RmsNorm(d, c["eps"]), RmsNorm(d, c["eps"])
        a.register_buffer("key_cache", torch.zeros(c["batch"], c["kv"], c["length"], d))
        a.register_buffer("value_cache", torch.zeros(c["batch"], c["kv"], c["length"], d))
        self.mlp = m = nn.Module()
        m.gate_proj = nn.Linear(h, c["wide"], bias=False)
        m.up_proj = nn.Linear(h, c["wide"], bias=False)
        m.down_proj = nn.Linear(c["wide"], h, bias=False)
        self.input_layernorm = RmsNorm(h, c["eps"])
        self.post_attention_layernorm = RmsNorm(h, c["eps"])

    def attend(self, x, position, cos, sin, mask):
        a, d = self.self_attn, self.c["head_dim"]

        def split(y):
            return y.view(y.size(0), y.size(1), -1, d).transpose(1, 2)

        def rotate(y):
            half = d // 2
            return y * cos + torch.cat((-y[..., half:], y[..., :half]), -1) * sin

        q, k, v = split(a.q_proj(x)), split(a.k_proj(x)), split(a.v_proj(x))
        if self.c["qk_norm"]:
            q, k = a.q_norm(q), a.k_norm(k)
        a.key_cache.index_copy_(2, position, rotate(k))
        a.value_cache.index_copy_(2, position, v)
        mixed = F.scaled_dot_product_attention(rotate(q), a.key_cache, a.value_cache, attn_mask=mask,
                                               enable_gqa=True)
        return a.o_proj(mixed.transpose(1, 2).flatten(2))

    def forward(self, x, *step):
        x = x + self.attend(self.input_layernorm(x), *step)
        y = self.post_attention_layernorm(x)
        return x + self.mlp.down_proj(F.silu(self.mlp.gate_proj(y)) * self.mlp.up_proj(y))


class Llama(nn.Module):
    def __init__(self, **c):
        super().__init__()
        self.model = m = nn.Module()
        m.embed_tokens = nn.Embedding(c["vocab"], c["hidden"])
        m.layers = nn.ModuleList(LlamaLayer(c) for _ in range(c["layers"]))
        m.norm = RmsNorm(c["hidden"], c["eps"])
        m.register_buffer("cos", torch.zeros(c["length"], c["head_dim"]))
        m.register_buffer("sin", torch.zeros(c["length"], c["head_dim"]))
        self.lm_head = nn.Linear(c["hidden"], c["vocab"], bias=False)
        self.length = c["length"]
        if c["tied"]:
            self.lm_head.weight = m.embed_tokens.weight

    def forward(self, token, position):
        m = self.model
        tokens = token.size(1)
        cos, sin = m.cos[position].view(1, 1, tokens, -1), m.sin[position].view(1, 1, tokens, -1)
        mask = (torch.arange(self.length, device=token.device) <= position.view(-1, 1)).view(1, 1, tokens, -1)
        x = m.embed_tokens(token)
        for layer in m.layers:
            x = layer(x, position, cos, sin, mask)
        logits = self.lm_head(m.norm(x[:, -1:])).squeeze(1)
        return logits.argmax(-1, keepdim=True), logits


class VitLayer(nn.Module):
    def __init__(self, width, heads, wide):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, wide), nn.Linear(wide, width)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = self.qkv(self.ln_1(x)).view(b, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(mixed.transpose(1, 2).reshape(b, t, w))
        return x + self.fc2(F.gelu(self.fc1(self.ln_2(x))))


class Vit(nn.Module):
    def __init__(self, layers=12, width=768, heads=12, wide=3072, patch=16, size=224, classes=1000):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, width))
        self.layers = nn.ModuleList(VitLayer(width, heads, wide) for _ in range(layers))
        self.ln, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.size(0), -1, -1), x], 1) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.head(self.ln(x)[:, 0])


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride != 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, 4 * width, 1, stride, bias=False),
                                            nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, blocks=(3, 4, 6, 3), classes=1000):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inputs = 64
        for i, count in enumerate(blocks):
            width, stage = 64 << i, []
            for j in range(count):
                stage.append(Bottleneck(inputs, width, 2 if i > 0 and j == 0 else 1))
                inputs = 4 * width
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
        self.fc = nn.Linear(2048, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Dlrm(nn.Module):
    def __init__(self, dense=13, tables=26, rows=20000, width=64, bottom=(512, 256), top=(512, 512, 256)):
        super().__init__()
        vectors = tables + 1

        def stack(*widths):
            return nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

        self.bottom = stack(dense, *bottom, width)
        self.tables = nn.ModuleList(nn.Embedding(rows, width) for _ in range(tables))
        self.top = stack(width + vectors * (vectors - 1) // 2, *top, 1)
        pairs = torch.tril_indices(vectors, vectors, -1)
        self.register_buffer("rows", pairs[0].contiguous())
        self.register_buffer("columns", pairs[1].contiguous())

    def forward(self, x, categories):
        for layer in self.bottom:
            x = F.relu(layer(x))
        vectors = torch.stack([x] + [t(categories[:, i]) for i, t in enumerate(self.tables)], 1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))
        y = torch.cat([x, products[:, self.rows, self.columns]], 1)
        for layer in self.top[:-1]:
            y = F.relu(layer(y))
        return torch.sigmoid(self.top[-1](y))


def llama(hidden, wide, layers, heads, kv, head_dim, vocab, tied, qk_norm=False, eps=1e-5):
    def make(inputs, cut, length):
        return Llama(hidden=hidden, wide=wide, layers=cut or layers, heads=heads, kv=kv, head_dim=head_dim,
                     vocab=vocab, tied=tied, qk_norm=qk_norm, eps=eps, batch=inputs[0].size(0),
                     length=length or (2048 if inputs[0].size(1) == 1 else inputs[0].size(1)))
    return make


LLAMA_1B = llama(2048, 8192, 16, 32, 8, 64, 128256, True)
QWEN = llama(1024, 3072, 28, 16, 8, 128, 151936, True, True, 1e-6)

MODELS = {
    "mlp": lambda inputs, cut, length: Mlp(cut or 8),
    "minilm": lambda inputs, cut, length: Bert(layers=cut or 6),
    "bert-base": lambda inputs, cut, length: Bert(768, cut or 12, 12, 3072),
    "llama-3.2-1b": LLAMA_1B,
    "llama-3.2-1b-prefill": LLAMA_1B,
    "llama-3.1-8b": llama(4096, 14336, 32, 32, 8, 128, 128256, False),
    "qwen3-0.6b": QWEN,
    "qwen3-0.6b-prefill": QWEN,
    "vit-b16": lambda inputs, cut, length: Vit(cut or 12),
    "resnet50": lambda inputs, cut, length: ResNet((1, 1, 1, 1) if cut else (3, 4, 6, 3)),
    "dlrm": lambda inputs, cut, length: Dlrm(),
}


def build(name, weights, inputs, device, cut, length):
    """The model with exactly these weights, in eval mode. Fails if a weight is missing or left over."""
    with torch.device("meta"):
        model = MODELS[name](inputs, cut, length)
    weights = {n: t.to(device) for n, t in weights.items()}
    missing, extra = model.load_state_dict(weights, strict=False, assign=True)
    tied = {"lm_head.weight"} if getattr(model, "lm_head", None) is not None else set()
    missing = set(missing) - tied
    ignored = {n for n in extra if n.endswith(("num_batches_tracked", "position_ids"))}
    if missing or set(extra) - ignored:
        raise SystemExit(f"weights don't fit: missing {sorted(missing)}, left over {sorted(set(extra) - ignored)}")
    if tied and model.lm_head.weight.is_meta:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model.requires_grad_(False).eval()
