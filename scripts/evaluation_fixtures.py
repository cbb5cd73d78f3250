#!/usr/bin/env python3
"""The numbers that the tests of src/eval and tests/inception.rs compare with, by NumPy, SciPy and PyTorch.

    scripts/evaluation_fixtures.py metrics      prints constants for the tests of src/eval
    scripts/evaluation_fixtures.py inception    writes tests/fixtures/inception.json

Both sides compute features, weights and images by Philox4x32-10 as in src/random.rs, so that only results are
stored. Needs numpy; `metrics` also scipy, `inception` also torch (made with 1.13 on the CPU, in float64).
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np

FIXTURE = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "inception.json"


def uniform(seed, purpose, sample, count):
    """Numbers on [0, 1), multiples of 2^-24: `Key::new(seed, Purpose::Other(purpose)).uniform(sample, block)`."""
    blocks = (count + 3) // 4
    mask = np.uint64(0xFFFFFFFF)
    word = lambda value: np.full(blocks, value, dtype=np.uint64)
    x = [np.arange(blocks, dtype=np.uint64), word(0), word(sample), word(255 | purpose << 8)]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        a, b = x[0] * np.uint64(0xD2511F53), x[2] * np.uint64(0xCD9E8D57)
        x = [b >> np.uint64(32) ^ x[1] ^ np.uint64(k0), b & mask, a >> np.uint64(32) ^ x[3] ^ np.uint64(k1), a & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    words = np.stack(x, axis=1).reshape(-1)[:count]
    return ((words >> np.uint64(8)).astype(np.float64) * 2.0**-24).astype(np.float32)


# Metrics.


def features(seed, n, d, scale, shift):
    """The features of `uniform` in src/eval/mod.rs."""
    u = np.stack([uniform(seed, 0, i, d) for i in range(n)])
    before = np.concatenate([np.zeros((n, 1), np.float32), u[:, :-1]], axis=1)
    half = np.float32(0.5)
    return np.float32(scale) * (u + half * before) + np.float32(shift)


def frechet(a, b):
    from scipy.linalg import sqrtm

    (m1, s1), (m2, s2) = [(x.mean(0), np.cov(x, rowvar=False)) for x in (a.astype(float), b.astype(float))]
    return float(((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2))))


def kernel(a, b):
    k = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3
    a, b = a.astype(float), b.astype(float)
    within = lambda x: (k(x, x).sum() - np.trace(k(x, x))) / (len(x) * (len(x) - 1))
    return within(a) + within(b) - 2 * k(a, b).mean()


def inception_score(logits, splits=10):
    z = logits.astype(float)
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    n, scores = len(p), []
    for s in range(splits):
        part = p[s * n // splits : (s + 1) * n // splits]
        scores.append(np.exp((part * (np.log(part) - np.log(part.mean(0)))).sum(1).mean()))
    return np.mean(scores), np.std(scores)


def precision_recall(samples, data, k=3):
    square = lambda x, y: ((x[:, None].astype(float) - y[None].astype(float)) ** 2).sum(-1)
    radii = lambda x: np.sort(square(x, x), axis=1)[:, k]
    across = square(samples, data)
    inside = across <= radii(data)[None], across <= radii(samples)[:, None]
    return inside[0].any(1).mean(), inside[1].any(0).mean()


def metrics():
    a, b = features(1, 90, 24, 1.0, 0.0), features(2, 70, 24, 1.2, 0.1)
    print("frechet.rs SCIPY", repr(frechet(a, b)))
    print("frechet.rs SCIPY_FEW", repr(frechet(b[:10], a)))
    print("kernel_distance.rs WHOLE", repr(kernel(a, b)))
    print("inception_score.rs MEAN, DEVIATION", inception_score(features(1, 90, 24, 4.0, 0.0)))
    print("precision_recall.rs SHARES", precision_recall(features(1, 90, 4, 1.0, 0.0), features(2, 70, 4, 1.2, 0.1)))


# Inception v3.


def tensor(name, shape):
    """A tensor of the checkpoint: as in tests/inception.rs."""
    u = uniform(0, 1, zlib.crc32(name.encode()), int(np.prod(shape))).reshape(shape)
    half = u - np.float32(0.5)
    if name.endswith("running_var"):
        return u + np.float32(0.5)
    if name.endswith("bn.weight"):
        return u * np.float32(0.5) + np.float32(0.75)
    if len(shape) == 1:
        return half * np.float32(0.25)
    # He's variance, as a power of two at most: exact in float32.
    fan = float(np.prod(shape[1:]))
    return half * np.float32(2.0 ** np.round(np.log2((24.0 / fan) ** 0.5)))


class Network:
    """Inception v3 by PyTorch's functions, as torch-fidelity and pytorch-fid define it."""

    def __init__(self):
        import torch

        self.torch, self.f = torch, torch.nn.functional

    def load(self, name, shape):
        return self.torch.from_numpy(tensor(name, shape)).double()

    def conv(self, x, name, c_out, window, stride=1, same=True):
        c_in = x.shape[1]
        weight = self.load(f"{name}.conv.weight", (c_out, c_in, *window))
        bn = [self.load(f"{name}.bn.{what}", (c_out,)) for what in ("running_mean", "running_var", "weight", "bias")]
        pad = tuple(k // 2 for k in window) if same else 0
        y = self.f.conv2d(x, weight, stride=stride, padding=pad)
        return self.f.batch_norm(y, *bn, training=False, eps=1e-3).relu()

    def chain(self, x, block, *convs):
        for name, c_out, window in convs:
            x = self.conv(x, f"{block}.{name}", c_out, window)
        return x

    def mean(self, x):
        return self.f.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    def halved(self, x):
        return self.f.max_pool2d(x, 3, 2)

    def a(self, x, n, pooled):
        return [
            self.chain(x, n, ("branch1x1", 64, (1, 1))),
            self.chain(x, n, ("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))),
            self.chain(x, n, ("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))),
            self.chain(self.mean(x), n, ("branch_pool", pooled, (1, 1))),
        ]

    def b(self, x, n):
        h = self.chain(x, n, ("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)))
        return [
            self.conv(x, f"{n}.branch3x3", 384, (3, 3), 2, False),
            self.conv(h, f"{n}.branch3x3dbl_3", 96, (3, 3), 2, False),
            self.halved(x),
        ]

    def c(self, x, n, i):
        row, column = (1, 7), (7, 1)
        return [
            self.chain(x, n, ("branch1x1", 192, (1, 1))),
            self.chain(x, n, ("branch7x7_1", i, (1, 1)), ("branch7x7_2", i, row), ("branch7x7_3", 192, column)),
            self.chain(
                x, n, ("branch7x7dbl_1", i, (1, 1)), ("branch7x7dbl_2", i, column), ("branch7x7dbl_3", i, row),
                ("branch7x7dbl_4", i, column), ("branch7x7dbl_5", 192, row),
            ),
            self.chain(self.mean(x), n, ("branch_pool", 192, (1, 1))),
        ]

    def d(self, x, n):
        first = self.chain(x, n, ("branch3x3_1", 192, (1, 1)))
        second = self.chain(
            x, n, ("branch7x7x3_1", 192, (1, 1)), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1))
        )
        return [
            self.conv(first, f"{n}.branch3x3_2", 320, (3, 3), 2, False),
            self.conv(second, f"{n}.branch7x7x3_4", 192, (3, 3), 2, False),
            self.halved(x),
        ]

    def e(self, x, n, pooled):
        first = self.chain(x, n, ("branch3x3_1", 384, (1, 1)))
        second = self.chain(x, n, ("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3)))
        fork = lambda h, stem: [self.conv(h, f"{n}.{stem}{end}", 384, w) for end, w in (("a", (1, 3)), ("b", (3, 1)))]
        return [
            self.chain(x, n, ("branch1x1", 320, (1, 1))),
            *fork(first, "branch3x3_2"),
            *fork(second, "branch3x3dbl_3"),
            self.chain(pooled, n, ("branch_pool", 192, (1, 1))),
        ]

    def resize(self, levels, convention):
        if convention == "pytorch":
            x = self.f.interpolate(levels / 255, size=(299, 299), mode="bilinear", align_corners=False)
            return 2 * x - 1
        # TensorFlow 1: position o of the result is o / scale, without half pixels.
        for axis in (2, 3):
            size = levels.shape[axis]
            at = self.torch.arange(299).double() * (size / 299)
            low = at.floor().long()
            high = (low + 1).clamp(max=size - 1)
            weight = (at - low).reshape((-1, 1) if axis == 2 else (-1,))
            take = levels.index_select
            levels = take(axis, low) * (1 - weight) + take(axis, high) * weight
        return (levels - 128) / 128

    def run(self, levels, convention):
        cat = lambda parts: self.torch.cat(parts, 1)
        blocks = {"input": self.resize(levels, convention)}

        def step(name, function):
            x = list(blocks.values())[-1]
            blocks[name] = function(x)

        conv = lambda name, *spec: step(name, lambda x: self.conv(x, name, *spec))
        conv("Conv2d_1a_3x3", 32, (3, 3), 2, False)
        conv("Conv2d_2a_3x3", 32, (3, 3), 1, False)
        conv("Conv2d_2b_3x3", 64, (3, 3))
        step("MaxPool_1", self.halved)
        conv("Conv2d_3b_1x1", 80, (1, 1))
        conv("Conv2d_4a_3x3", 192, (3, 3), 1, False)
        step("MaxPool_2", self.halved)
        for letter, pooled in zip("bcd", (32, 64, 64)):
            step(f"Mixed_5{letter}", lambda x: cat(self.a(x, f"Mixed_5{letter}", pooled)))
        step("Mixed_6a", lambda x: cat(self.b(x, "Mixed_6a")))
        for letter, inner in zip("bcde", (128, 160, 160, 192)):
            step(f"Mixed_6{letter}", lambda x: cat(self.c(x, f"Mixed_6{letter}", inner)))
        step("Mixed_7a", lambda x: cat(self.d(x, "Mixed_7a")))
        step("Mixed_7b", lambda x: cat(self.e(x, "Mixed_7b", self.mean(x))))
        step("Mixed_7c", lambda x: cat(self.e(x, "Mixed_7c", self.f.max_pool2d(x, 3, 1, 1))))
        features = blocks["Mixed_7c"].mean((2, 3), keepdim=True)
        blocks["features"] = features
        weight = self.load("fc.weight", (1008, 2048))
        blocks["logits"] = (features[:, :, 0, 0] @ weight.T)[:, :, None, None]
        return blocks


def probed(x):
    """The root mean square of an output [n, c, h, w], and 16 of its values in the order [n, h, w, c]."""
    flat = x.permute(0, 2, 3, 1).reshape(-1).numpy()
    at = [i * 2654435761 % len(flat) for i in range(16)]
    return {"rms": float(np.sqrt((flat**2).mean())), "probes": [float(f"{v:.9g}") for v in flat[at]]}


def inception():
    network = Network()
    levels = np.floor(uniform(0, 2, 0, 2 * 32 * 24 * 3) * 256).reshape(2, 32, 24, 3)
    levels = network.torch.from_numpy(levels).double().permute(0, 3, 1, 2)
    outputs = {}
    for convention in ("tensorflow", "pytorch"):
        blocks = network.run(levels, convention)
        outputs[convention] = {name: probed(x) for name, x in blocks.items()}
    FIXTURE.parent.mkdir(exist_ok=True)
    FIXTURE.write_text(json.dumps(outputs, indent=1) + "\n")


if __name__ == "__main__":
    {"metrics": metrics, "inception": inception}[sys.argv[1]]()
