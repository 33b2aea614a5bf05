"""PAD-FT's network and losses in plain PyTorch: the reference that the C++ core is compared with.

Nothing here is fast on purpose. Every function is the shortest correct way to write its formula, differentiated by
autograd, so that the fixtures of test/parity and the Python baselines of bench/ state the same mathematics once.

Shapes: images are uint8 N×C×H×W, RGB; logits N×classes; labels int64 N; per-channel bounds run over the clip sites in
network order (`PreActResNet18.sites`), either one row for all images (channels) or one row per image (N×channels).
"""

from __future__ import annotations

import json
import math
import struct
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)
CIFAR100_MEAN, CIFAR100_STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)

#: log 0 in the reverse cross-entropy: labels are clamped to 1e-4 in the SCE authors' code.
LOG_ZERO = math.log(1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# The network
# ---------------------------------------------------------------------------------------------------------------------


class Site(NamedTuple):
    """A clip site: the ReLU after a batch norm, its channels, and where they start in a flat vector of bounds."""

    name: str
    channels: int
    start: int


def limit_max(a: Tensor, bound: Tensor) -> Tensor:
    """a ← min(a, bound): `a` N×C×H×W, `bound` C or N×C. The gradient reaches both."""
    return torch.minimum(a, bound.to(a.dtype).reshape(-1, a.shape[1], 1, 1))


def limit_mean(a: Tensor, bound: Tensor) -> Tensor:
    """a ← a · min(1, u / m), m the channel's mean over the image: `a` N×C×H×W, `bound` C or N×C.

    The gradient flows through m. Where m ≤ u (m = 0 included) the map is untouched and u gets no gradient.
    """
    u = bound.to(a.dtype).reshape(-1, a.shape[1], 1, 1)
    m = a.mean(dim=(2, 3), keepdim=True)
    over = m > u
    return a * torch.where(over, u / torch.where(over, m, 1.0), 1.0)


class PreActBlock(nn.Module):
    """Pre-activation basic block; a shortcut only where the shape changes, after the first ReLU, without BN."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=1, padding=1, bias=False)
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False))

    def forward(self, x: Tensor, site1, site2) -> Tensor:
        out = site1(F.relu(self.bn1(x)))
        shortcut = self.shortcut(out) if hasattr(self, 'shortcut') else x
        out = self.conv1(out)
        out = self.conv2(site2(F.relu(self.bn2(out))))
        return out + shortcut


class PreActResNet18(nn.Module):
    """PreAct-ResNet-18 for small images: a bare 3×3 stem, four stages of two blocks, no BN or ReLU before the pool.

    `width` is the first stage's number of channels; 64 gives the published network (11,171,146 parameters at 10
    classes, 102 state entries). The network normalises its own input; mean and std are not part of the state.
    """

    def __init__(self, classes: int, width: int = 64, mean=CIFAR10_MEAN, std=CIFAR10_STD, inputs: int = 3) -> None:
        super().__init__()
        self.register_buffer('mean', torch.tensor(mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).reshape(1, -1, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=1, padding=1, bias=False)
        self.sites: list[Site] = []
        previous, start = width, 0
        for stage in range(1, 5):
            planes = width * 2 ** (stage - 1)
            blocks = []
            for block in range(2):
                stride = 2 if stage > 1 and block == 0 else 1
                blocks.append(PreActBlock(previous, planes, stride))
                for relu, channels in ((1, previous), (2, planes)):
                    self.sites.append(Site(f'layer{stage}.{block}.relu{relu}', channels, start))
                    start += channels
                previous = planes
            self.add_module(f'layer{stage}', nn.Sequential(*blocks))
        self.channels = start
        self.linear = nn.Linear(previous, classes)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 pixels (or floats already in [0, 1]) to the normalised input of the first convolution."""
        x = images.to(self.mean.dtype) / 255 if images.dtype == torch.uint8 else images
        return (x - self.mean) / self.std

    def features_of(self, x: Tensor, max_bounds: Tensor | None = None, mean_bounds: Tensor | None = None,
                    record: list[Tensor] | None = None) -> Tensor:
        """Features (N×8·width) of a *normalised* input. `record` collects every site's map after its limits."""

        def at(site: Site):
            piece = slice(site.start, site.start + site.channels)

            def limited(a: Tensor) -> Tensor:
                if max_bounds is not None:
                    a = limit_max(a, max_bounds[..., piece])
                if mean_bounds is not None:
                    a = limit_mean(a, mean_bounds[..., piece])
                if record is not None:
                    record.append(a)
                return a

            return limited

        x = self.conv1(x)
        index = 0
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = block(x, at(self.sites[index]), at(self.sites[index + 1]))
                index += 2
        return x.mean(dim=(2, 3))

    def features(self, images: Tensor, max_bounds: Tensor | None = None, mean_bounds: Tensor | None = None) -> Tensor:
        return self.features_of(self.normalise(images), max_bounds, mean_bounds)

    def forward(self, images: Tensor, max_bounds: Tensor | None = None, mean_bounds: Tensor | None = None) -> Tensor:
        return self.linear(self.features(images, max_bounds, mean_bounds))

    def statistics(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Each image's mean and largest activation per channel, both N×channels, without any bound."""
        maps: list[Tensor] = []
        self.features_of(self.normalise(images), record=maps)
        return (torch.cat([a.mean(dim=(2, 3)) for a in maps], dim=1),
                torch.cat([a.amax(dim=(2, 3)) for a in maps], dim=1))


# ---------------------------------------------------------------------------------------------------------------------
# Scores and losses
# ---------------------------------------------------------------------------------------------------------------------


def sce(logits: Tensor, labels: Tensor, alpha: float = 0.1, log_zero: float = LOG_ZERO) -> Tensor:
    """Symmetric cross-entropy per row: α·(−log p_y) + (1 − α)·(−A·(1 − p_y))."""
    log_p = F.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    return alpha * -log_p + (1 - alpha) * -log_zero * (1 - log_p.exp())


def without_label(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits with the given label's own set to −∞."""
    return logits.masked_fill(F.one_hot(labels, logits.shape[1]).bool(), -math.inf)


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """z_y − logsumexp_{k≠y} z_k per row."""
    return logits.gather(1, labels[:, None])[:, 0] - torch.logsumexp(without_label(logits, labels), dim=1)


def consistency(logits: Tensor, augmented: Tensor) -> Tensor:
    """‖σ(F(x)) − σ(F(x′))‖², summed over classes, mean over rows."""
    return (logits.softmax(dim=1) - augmented.softmax(dim=1)).square().sum(dim=1).mean()


def suspect_term(logits: Tensor, labels: Tensor, margin: float) -> Tensor:
    """mean softplus(log-odds of the given label + margin)."""
    return F.softplus(log_odds(logits, labels) + margin).mean()


def bounds_norm(sites: list[Site], bounds: Tensor) -> Tensor:
    """Σ_l ‖z_l‖₂ over the clip sites."""
    return sum(bounds[s.start:s.start + s.channels].norm() for s in sites)


def clip_loss(logits: Tensor, reference: Tensor, sites: list[Site], bounds: list[Tensor], lam: float) -> Tensor:
    """MSE (mean over rows and classes) + λ · Σ_l ‖z_l‖₂, summed over the kinds of bounds given."""
    return F.mse_loss(logits, reference) + lam * sum(bounds_norm(sites, b) for b in bounds)


def fraction_loss(logits: Tensor, reference: Tensor, variance: Tensor, fractions: list[Tensor], lam: float,
                  suspect_logits: Tensor | None = None, suspect_labels: Tensor | None = None, mu: float = 0.0,
                  margin: float = 2.0) -> Tensor:
    """MSE / variance + λ · mean(all fractions) + μ · suspect term.

    `variance`: the population variance of all reference logits over the whole D_c. With two kinds of bounds the mean
    runs over the fractions of both together.
    """
    loss = F.mse_loss(logits, reference) / variance + lam * torch.cat(fractions).mean()
    if suspect_logits is not None and suspect_labels is not None:
        loss = loss + mu * suspect_term(suspect_logits, suspect_labels, margin)
    return loss


def tune_loss(logits: Tensor, augmented: Tensor, labels: Tensor, alpha: float = 0.1, beta: float = 0.5,
              suspect_logits: Tensor | None = None, suspect_labels: Tensor | None = None, nu: float = 0.0,
              margin: float = 2.0) -> Tensor:
    """β · mean SCE(x) + (1 − β) · consistency(x, x′) + ν · suspect term."""
    loss = beta * sce(logits, labels, alpha).mean() + (1 - beta) * consistency(logits, augmented)
    if suspect_logits is not None and suspect_labels is not None:
        loss = loss + nu * suspect_term(suspect_logits, suspect_labels, margin)
    return loss


def purified_rows(odds: np.ndarray, labels: np.ndarray, classes: int, total: int) -> np.ndarray:
    """The total/classes rows of largest log-odds (smallest SCE) per given label, ties by index, in ascending order."""
    kept = [np.nonzero(labels == c)[0] for c in range(classes)]
    kept = [rows[np.argsort(-odds[rows], kind='stable')][:total // classes] for rows in kept]
    return np.sort(np.concatenate(kept))


# ---------------------------------------------------------------------------------------------------------------------
# Augmentation (torchvision's formulas for float images in [0, 1])
# ---------------------------------------------------------------------------------------------------------------------


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """clamp(factor · x, 0, 1): `x` N×3×H×W, one factor per image."""
    return (factor.reshape(-1, 1, 1, 1) * x).clamp(0, 1)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """clamp(factor · x + (1 − factor) · mean of the grey image, 0, 1), grey = .2989 R + .587 G + .114 B."""
    f = factor.reshape(-1, 1, 1, 1)
    grey = 0.2989 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    return (f * x + (1 - f) * grey.mean(dim=(1, 2)).reshape(-1, 1, 1, 1)).clamp(0, 1)


def augment(x: Tensor, brightness: Tensor, contrast: Tensor, flip: Tensor) -> Tensor:
    """Brightness, then contrast, then a horizontal flip where `flip` is true."""
    x = adjust_contrast(adjust_brightness(x, brightness), contrast)
    return torch.where(flip.reshape(-1, 1, 1, 1), x.flip(3), x)


# ---------------------------------------------------------------------------------------------------------------------
# Files and made data
# ---------------------------------------------------------------------------------------------------------------------

_NAMES = {'float32': 'F32', 'float64': 'F64', 'int64': 'I64', 'int32': 'I32', 'uint8': 'U8', 'bool': 'BOOL'}
_DTYPES = {short: long for long, short in _NAMES.items()}


def write_safetensors(path: str, tensors: dict[str, Tensor | np.ndarray], metadata: dict[str, str]) -> None:
    """Writes the safetensors format by hand: u64 header length, JSON padded to 8 bytes, little-endian data."""
    header: dict = {'__metadata__': metadata}
    chunks: list[bytes] = []
    offset = 0
    for name, value in tensors.items():
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        data = array.astype(array.dtype.newbyteorder('<')).tobytes()
        header[name] = {'dtype': _NAMES[array.dtype.name], 'shape': list(array.shape),
                        'data_offsets': [offset, offset + len(data)]}
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text + b''.join(chunks))


def read_safetensors(path: str) -> dict[str, np.ndarray]:
    """Reads every tensor of a safetensors file."""
    with open(path, 'rb') as file:
        (length,) = struct.unpack('<Q', file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header.pop('__metadata__', None)
    return {name: np.frombuffer(data[h['data_offsets'][0]:h['data_offsets'][1]], dtype=_DTYPES[h['dtype']])
            .reshape(h['shape']).copy() for name, h in header.items()}


def made_images(rows: int, classes: int, seed: int, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Structured uint8 images (rows×3×size×size) and int64 labels.

    Each image is a colour ramp, a rectangle and noise; the ramp's colour and direction lean on the label, so that a
    network can learn something from them.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    palette = rng.uniform(30, 225, (classes, 3, 1, 1))
    angle = 2 * np.pi * labels / classes
    grid = np.linspace(-1, 1, size)
    ramp = (np.cos(angle)[:, None, None] * grid[None, None, :] + np.sin(angle)[:, None, None] * grid[None, :, None])
    images = palette[labels] + 45 * ramp[:, None] + rng.normal(0, 16, (rows, 3, size, size))
    edges = np.sort(rng.integers(0, size, (rows, 2, 2)), axis=2)
    colours = rng.uniform(0, 255, (rows, 3))
    y, x = np.arange(size)[None, :, None], np.arange(size)[None, None, :]
    inside = ((y >= edges[:, 0, 0, None, None]) & (y <= edges[:, 0, 1, None, None])
              & (x >= edges[:, 1, 0, None, None]) & (x <= edges[:, 1, 1, None, None]))
    images = np.where(inside[:, None], colours[:, :, None, None], images)
    return np.clip(images, 0, 255).astype(np.uint8), labels.astype(np.int64)
