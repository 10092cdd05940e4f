"""A small vision transformer for digits, which takes images of any size: more pixels are more tokens."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH, WIDTH, DEPTH, HEADS = 4, 64, 3, 8
WAVELENGTH = 100.0  # of the slowest position wave, in patches: longer than any image here is wide


class Attention(nn.Module):
    """Multi-head self-attention: `qkv` makes queries, keys and values of all heads, `out` mixes what they put out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, C) -> the same shape; head h reads and writes the channels h·C/heads to (h + 1)·C/heads."""
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, 2)
        )
        mixed: Tensor = self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """Attention and a perceptron, each behind a LayerNorm and beside a shortcut (arXiv 2010.11929, figure 1)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, C) -> the same shape."""
        tokens = tokens + self.attention(self.norm1(tokens))
        update: Tensor = self.narrow(F.gelu(self.widen(self.norm2(tokens))))
        return tokens + update


class VisionTransformer(nn.Module):
    """ViT (arXiv 2010.11929) with a class token and fixed 2-D sinusoidal positions, so that any size has its own."""

    def __init__(self, classes: int = 10, width: int = WIDTH, depth: int = DEPTH, heads: int = HEADS) -> None:
        super().__init__()
        self.width = width
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W), H and W multiples of PATCH -> logits (N, classes)."""
        x = self.patches(x)
        placed = x + positions(x.shape[2], x.shape[3], self.width).to(x)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), placed.flatten(2).transpose(1, 2)], 1)
        logits: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return logits


def positions(rows: int, columns: int, width: int) -> Tensor:
    """Sines and cosines of row and column, (width, rows, columns), width a multiple of 4 (arXiv 2205.01580)."""
    frequency = 2 * math.pi / WAVELENGTH ** torch.linspace(0, 1, width // 4 + 1)[1:, None]
    down, across = (frequency * torch.arange(count) for count in (rows, columns))
    waves = (
        torch.cat([down.sin(), down.cos()])[:, :, None].expand(-1, -1, columns),
        torch.cat([across.sin(), across.cos()])[:, None, :].expand(-1, rows, -1),
    )
    return torch.cat(waves)


def tokens(size: tuple[int, int]) -> int:
    """How many patches an image of a size (H, W) has: its length."""
    return (size[0] // PATCH) * (size[1] // PATCH)
