"""The decoder of guided-diffusion's UNet (Dhariwal and Nichol, 2021), evaluated tensor by tensor and head by head.

It is slow and has no modules: it reads the checkpoint's tensors by the names that the released files have. Nothing of
it comes from diffusers or from ralseg.
"""

import math

import torch
from torch.nn import functional


def _norm(w, name, x):
    """Group norm over 32 groups, written out."""
    batch, channels = x.shape[:2]
    grouped = x.reshape(batch, 32, -1)
    centred = grouped - grouped.mean(2, keepdim=True)
    scaled = centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()
    shape = (1, channels) + (1,) * (x.ndim - 2)
    return scaled.reshape(x.shape) * w[f"{name}.weight"].reshape(shape) + w[f"{name}.bias"].reshape(shape)


def _silu(x):
    return x / (1 + torch.exp(-x))


def _conv(w, name, x):
    kernel = w[f"{name}.weight"]
    return functional.conv2d(x, kernel, w[f"{name}.bias"], padding=kernel.shape[-1] // 2)


def _linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _twice(x):
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def _half(x):
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def _residual(w, name, x, time, resample=lambda x: x):
    """A residual block with scale and shift after its second norm; `resample` doubles or halves the resolution."""
    made = _conv(w, f"{name}.in_layers.2", resample(_silu(_norm(w, f"{name}.in_layers.0", x))))
    x = resample(x)
    both = _linear(w, f"{name}.emb_layers.1", _silu(time))[:, :, None, None]
    scale, shift = both[:, : made.shape[1]], both[:, made.shape[1] :]
    made = _silu(_norm(w, f"{name}.out_layers.0", made) * (1 + scale) + shift)
    made = _conv(w, f"{name}.out_layers.3", made)
    return made + (_conv(w, f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in w else x)


def _attention(w, name, x, head):
    """Self-attention over all positions in the legacy order: the rows of `qkv` are q, k, v of head 0, of head 1, ..."""
    flat = x.flatten(2)
    rows = w[f"{name}.qkv.weight"][:, :, 0] @ _norm(w, f"{name}.norm", flat) + w[f"{name}.qkv.bias"][:, None]
    mixed = []
    for first in range(0, rows.shape[1], 3 * head):
        q, k, v = (rows[:, first + part * head : first + (part + 1) * head] for part in range(3))
        weights = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(head), dim=2)
        mixed.append(v @ weights.transpose(1, 2))
    out = w[f"{name}.proj_out.weight"][:, :, 0] @ torch.cat(mixed, 1) + w[f"{name}.proj_out.bias"][:, None]
    return (flat + out).reshape(x.shape)


def outputs(w, noisy, timesteps, channels, multipliers, residual_blocks, attention, head):
    """The outputs of all blocks of the decoder, and what the network gives.

    Args:
        w: tensors by guided-diffusion's names.
        noisy: (B, 3, h, w).
        timesteps: (B,).
    """
    half = channels // 2
    # In float32 as released: at timestep 250, exact rates would turn the angles by 2e-5.
    rates = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    angles = timesteps[:, None].float() * rates
    time = _linear(w, "time_embed.0", torch.cat([angles.cos(), angles.sin()], 1).to(noisy.dtype))
    time = _linear(w, "time_embed.2", _silu(time))

    x = _conv(w, "input_blocks.0.0", noisy)
    kept = [x]
    for level in range(len(multipliers)):
        for _ in range(residual_blocks):
            name = f"input_blocks.{len(kept)}"
            x = _residual(w, f"{name}.0", x, time)
            if level in attention:
                x = _attention(w, f"{name}.1", x, head)
            kept.append(x)
        if level < len(multipliers) - 1:
            x = _residual(w, f"input_blocks.{len(kept)}.0", x, time, _half)
            kept.append(x)
    x = _residual(w, "middle_block.0", x, time)
    x = _attention(w, "middle_block.1", x, head)
    x = _residual(w, "middle_block.2", x, time)
    found = []
    for level in reversed(range(len(multipliers))):
        for place in range(residual_blocks + 1):
            name = f"output_blocks.{len(found)}"
            x = _residual(w, f"{name}.0", torch.cat([x, kept.pop()], 1), time)
            if level in attention:
                x = _attention(w, f"{name}.1", x, head)
            if place == residual_blocks and level > 0:
                x = _residual(w, f"{name}.{2 if level in attention else 1}", x, time, _twice)
            found.append(x)
    return found, _conv(w, "out.2", _silu(_norm(w, "out.0", x)))


def random_tensors(channels, multipliers, residual_blocks, attention, head, seed=0):
    """A checkpoint of random values, not of zeros, by guided-diffusion's names."""
    w, rng = {}, torch.Generator().manual_seed(seed)

    def layer(name, out, *into):
        w[f"{name}.weight"] = torch.randn(out, *into, generator=rng) / math.sqrt(math.prod(into))
        w[f"{name}.bias"] = 0.2 * torch.randn(out, generator=rng)

    def norm(name, width):
        w[f"{name}.weight"] = 1 + 0.2 * torch.randn(width, generator=rng)
        w[f"{name}.bias"] = 0.2 * torch.randn(width, generator=rng)

    def residual(name, into, out):
        norm(f"{name}.in_layers.0", into)
        layer(f"{name}.in_layers.2", out, into, 3, 3)
        layer(f"{name}.emb_layers.1", 2 * out, 4 * channels)
        norm(f"{name}.out_layers.0", out)
        layer(f"{name}.out_layers.3", out, out, 3, 3)
        if into != out:
            layer(f"{name}.skip_connection", out, into, 1, 1)

    def attend(name, width):
        assert width % head == 0
        norm(f"{name}.norm", width)
        layer(f"{name}.qkv", 3 * width, width, 1)
        layer(f"{name}.proj_out", width, width, 1)

    layer("time_embed.0", 4 * channels, channels)
    layer("time_embed.2", 4 * channels, 4 * channels)
    layer("input_blocks.0.0", channels, 3, 3, 3)
    kept = [channels]
    for level, multiplier in enumerate(multipliers):
        for _ in range(residual_blocks):
            name, width = f"input_blocks.{len(kept)}", multiplier * channels
            residual(f"{name}.0", kept[-1], width)
            if level in attention:
                attend(f"{name}.1", width)
            kept.append(width)
        if level < len(multipliers) - 1:
            residual(f"input_blocks.{len(kept)}.0", kept[-1], kept[-1])
            kept.append(kept[-1])
    width = kept[-1]
    residual("middle_block.0", width, width)
    attend("middle_block.1", width)
    residual("middle_block.2", width, width)
    block = 0
    for level in reversed(range(len(multipliers))):
        for place in range(residual_blocks + 1):
            name, own = f"output_blocks.{block}", multipliers[level] * channels
            residual(f"{name}.0", width + kept.pop(), own)
            width = own
            if level in attention:
                attend(f"{name}.1", width)
            if place == residual_blocks and level > 0:
                residual(f"{name}.{2 if level in attention else 1}", width, width)
            block += 1
    norm("out.0", channels)
    layer("out.2", 6, channels, 3, 3)
    return w
