"""The plain baseline: each stage as public research code writes it (see pytorch_baseline.py).

Images go one by one through PIL in a DataLoader with 4 workers, in every epoch again; float32, NCHW; deterministic
cuDNN (its TF32 convolutions stay as PyTorch sets them); predictions and losses are fetched every batch. Kinder than
the public code in one thing: images lie in memory, not in one PNG file each. torchvision's transforms are used where
it is installed, and the same transforms written with PIL where it is not.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps
from torch.utils.data import DataLoader, Dataset

import padft_reference as ref

try:
    from torchvision import transforms as tv
except Exception:  # not installed, or built for another torch
    tv = None


class Crop:
    """RandomCrop(32, padding=4) on a PIL image."""

    def __call__(self, image):
        width, height = image.size
        padded = ImageOps.expand(image, border=4, fill=0)
        x, y = int(torch.randint(0, 9, ())), int(torch.randint(0, 9, ()))
        return padded.crop((x, y, x + width, y + height))


class Flip:
    def __call__(self, image):
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(()) < 0.5 else image


class Jitter:
    """Brightness, then contrast, both U[0.6, 1.4]."""

    def __call__(self, image):
        image = ImageEnhance.Brightness(image).enhance(float(torch.empty(()).uniform_(0.6, 1.4)))
        return ImageEnhance.Contrast(image).enhance(float(torch.empty(()).uniform_(0.6, 1.4)))


class ToNormalised:
    """ToTensor, then Normalize."""

    def __init__(self, mean, std) -> None:
        self.mean, self.std = torch.tensor(mean).reshape(3, 1, 1), torch.tensor(std).reshape(3, 1, 1)

    def __call__(self, image):
        x = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous().float().div(255)
        return x.sub_(self.mean).div_(self.std)


class Compose:
    def __init__(self, steps) -> None:
        self.steps = steps

    def __call__(self, image):
        for step in self.steps:
            image = step(image)
        return image


def transform(kind: str, size: int, mean, std):
    """`test`, `train` (crop and flip) or `tune` (flip, brightness, contrast)."""
    if tv is not None:
        steps = {'test': [], 'train': [tv.RandomCrop(size, padding=4), tv.RandomHorizontalFlip()],
                 'tune': [tv.RandomHorizontalFlip(), tv.ColorJitter(brightness=0.4, contrast=0.4)]}[kind]
        return tv.Compose([*steps, tv.ToTensor(), tv.Normalize(mean, std)])
    steps = {'test': [], 'train': [Crop(), Flip()], 'tune': [Flip(), Jitter()]}[kind]
    return Compose([*steps, ToNormalised(mean, std)])


class Images(Dataset):
    """One row: the image through each transform, then its label."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transforms: list) -> None:
        self.images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self.labels, self.transforms = labels, transforms

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        image = Image.fromarray(self.images[index])
        return (*(t(image) for t in self.transforms), int(self.labels[index]))


class Stage:
    """Shared by the four: the loader and the network."""

    kinds = ['test']
    shuffle, drop_last = True, False

    def __init__(self, bench) -> None:
        self.bench, self.args, self.device = bench, bench.args, bench.device
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.set_float32_matmul_precision('highest')
        size = bench.images.shape[2]
        data = Images(bench.images, bench.labels, [transform(k, size, bench.mean, bench.std) for k in self.kinds])
        self.loader = DataLoader(data, batch_size=self.args.batch, shuffle=self.shuffle, drop_last=self.drop_last,
                                 num_workers=self.args.workers, pin_memory=bench.cuda)
        self.net = bench.network()

    def forward(self, x, bounds=None):
        return self.net.linear(self.net.features_of(x, bounds))

    def warm_up(self) -> None:
        self.run(3)

    def repeat(self) -> None:
        self.run(None)

    def common(self) -> dict:
        return {'kind': 'eager', 'precision': 'fp32', 'channels_last': False, 'workers': self.args.workers,
                'pil': 'torchvision' if tv is not None else 'own transforms',
                'tf32_convolutions': bool(self.bench.cuda and torch.backends.cudnn.allow_tf32)}


class Score(Stage):
    shuffle = False

    def __init__(self, bench) -> None:
        super().__init__(bench)
        self.net.eval()
        self.images = self.args.rows

    def run(self, limit) -> None:
        losses, odds = [], []
        with torch.no_grad():
            for x, y in itertools.islice(self.loader, limit):
                x, y = x.to(self.device), y.to(self.device)
                logits = self.forward(x)
                losses.append(ref.sce(logits, y).cpu())
                odds.append(ref.log_odds(logits, y).cpu())
        self.odds = torch.cat(odds).numpy()

    def result(self, _seconds) -> dict:
        from pytorch_baseline import purified_digest

        return {**self.common(), 'purified': purified_digest(self.bench, self.odds),
                'logodds_mean': float(self.odds.mean()),
                'check_difference': self.bench.check_difference(self.odds)}


class Train(Stage):
    kinds = ['train']
    drop_last = True

    def __init__(self, bench) -> None:
        super().__init__(bench)
        self.sgd = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.images = len(self.loader) * self.args.batch

    def run(self, limit) -> None:
        self.net.train()
        losses, predicted = [], []
        for x, y in itertools.islice(self.loader, limit):
            x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
            logits = self.forward(x)
            loss = F.cross_entropy(logits, y)
            loss.backward()
            self.sgd.step()
            self.sgd.zero_grad()
            losses.append(loss.item())
            predicted.append(logits.max(1)[1].detach().cpu())
        self.loss = float(np.mean(losses))

    def result(self, _seconds) -> dict:
        return {**self.common(), 'last_epoch_loss': self.loss}


class Clip(Stage):
    """As published: the original network runs with autograd in every step, and every weight's gradient is computed."""

    def __init__(self, bench) -> None:
        super().__init__(bench)
        self.net.eval()
        self.images = 0

    def run(self, limit) -> None:
        z = torch.full((self.net.channels,), self.args.z0, device=self.device, requires_grad=True)
        adam = torch.optim.Adam([z], lr=0.1)
        steps, seen = limit or self.args.steps, 0
        batches = itertools.chain.from_iterable(self.loader for _ in itertools.count())
        for x, _ in itertools.islice(batches, steps):
            x = x.to(self.device)
            loss = ref.clip_loss(self.forward(x, z), self.forward(x), self.net.sites, [z], self.args.lam)
            adam.zero_grad()
            loss.backward()
            adam.step()
            with torch.no_grad():
                z.clamp_(min=0)
            self.loss = loss.item()
            seen += len(x)
        self.images, self.bounds = seen, z.detach()

    def result(self, seconds) -> dict:
        return {**self.common(), 'steps': self.args.steps, 'seconds_per_step': seconds / self.args.steps,
                'last_loss': self.loss, 'bounds_mean': self.bounds.mean().item()}


class Tune(Stage):
    """The backbone runs on x and on x′ in every step of every epoch."""

    kinds = ['test', 'tune']

    def __init__(self, bench) -> None:
        super().__init__(bench)
        self.whole = self.args.full
        self.measured = self.args.epochs if self.whole else 1
        self.net.eval().requires_grad_(False)
        self.net.linear.requires_grad_(True)
        self.sgd = torch.optim.SGD(self.net.linear.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.images = 2 * self.args.rows * self.measured

    def run(self, limit) -> None:
        for _ in range(1 if limit else self.measured):
            for x, augmented, y in itertools.islice(self.loader, limit):
                x, augmented, y = x.to(self.device), augmented.to(self.device), y.to(self.device)
                loss = ref.tune_loss(self.forward(x), self.forward(augmented), y)
                self.sgd.zero_grad()
                loss.backward()
                self.sgd.step()
                self.loss = loss.item()

    def result(self, seconds) -> dict:
        each = seconds / self.measured
        return {**self.common(), 'seconds': each * self.args.epochs, 'seconds_per_epoch': each,
                'epochs': self.args.epochs, 'extrapolated': not self.whole, 'last_loss': self.loss}


def variants(bench):
    """Plain has one variant."""
    stage = {'score': Score, 'train': Train, 'clip': Clip, 'tune': Tune}[bench.args.stage]
    return [('eager-fp32', lambda: stage(bench))]
