#!/usr/bin/env python3
"""Exports a decoder of Llama's kind in half precision, 2 GB of random weights, for import_cost.

Usage: large.py OUTPUT.pt2
"""
import sys
from pathlib import Path

import torch
from torch import nn

WIDTH, HIDDEN, HEADS, KEYS, LAYERS, WORDS = 2048, 8192, 32, 8, 14, 32000


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        size = WIDTH // HEADS
        self.first, self.second = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.q = nn.Linear(WIDTH, WIDTH, bias=False)
        self.k = nn.Linear(WIDTH, KEYS * size, bias=False)
        self.v = nn.Linear(WIDTH, KEYS * size, bias=False)
        self.o = nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.up = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.down = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x, cos, sin):
        y = self.first(x)
        split = lambda t: t.unflatten(-1, (-1, WIDTH // HEADS)).transpose(1, 2)
        q, k, v = split(self.q(y)), split(self.k(y)), split(self.v(y))
        turn = lambda t: torch.cat([-t.chunk(2, -1)[1], t.chunk(2, -1)[0]], -1)
        q, k = q * cos + turn(q) * sin, k * cos + turn(k) * sin
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.o(y.transpose(1, 2).flatten(2))
        y = self.second(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.RMSNorm(WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, ids):
        x = self.words(ids)
        size = WIDTH // HEADS
        steps = 500000.0 ** (-torch.arange(0, size, 2, device=x.device) / size)
        angle = torch.arange(ids.shape[1], device=x.device)[:, None] * steps.repeat(2)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.head(self.norm(x[:, -1:]))


def main():
    torch.manual_seed(5)
    with torch.device("meta"):
        net = Decoder().half()
    net = net.to_empty(device="cpu").eval()
    with torch.no_grad():
        for p in net.parameters():
            p.uniform_(-0.03, 0.03)
        program = torch.export.export(net, (torch.randint(0, WORDS, (1, 16)),), strict=False)
    program._example_inputs = None
    torch.export.save(program, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
