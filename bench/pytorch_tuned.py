"""The tuned baseline: the same mathematics as well as PyTorch allows from Python (see pytorch_baseline.py).

Images stay on the device as uint8 NHWC and every batch is one gather, so channels-last costs nothing; foreach or fused
optimizers; the reference logits of clipping are computed once and only the bounds take gradients; tuning computes the
features in large batches and trains the head on them; nothing is fetched from the device inside a loop. Variants:
eager and torch.compile (on CUDA with CUDA graphs too, where gradients are taken), in float32 or TF32 and half
precision by autocast. Half precision on a CPU only where it has bfloat16 instructions.
"""

from __future__ import annotations

import copy
import functools
from contextlib import nullcontext

import torch
import torch.nn.functional as F

import padft_reference as ref

HEAD_BATCH = 256


class Stage:
    """Shared by the four: resident data, the network in channels-last, autocast and compilation."""

    def __init__(self, bench, kind: str, precision: str) -> None:
        self.bench, self.args, self.device = bench, bench.args, bench.device
        self.kind, self.precision = kind, precision
        torch.backends.cudnn.deterministic = False
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision('highest' if precision == 'fp32' else 'high')
        torch.backends.cudnn.allow_tf32 = precision != 'fp32'
        half = {'bf16': torch.bfloat16, 'fp16': torch.float16}.get(precision)
        self.cast = functools.partial(torch.autocast, self.device.type, half) if half else nullcontext
        # oneDNN's weight gradients write outside their memory for channels-last and fewer than 8 channels (torch 2.13).
        self.channels_last = bench.cuda or self.args.width >= 8
        self.format = torch.channels_last if self.channels_last else torch.contiguous_format
        self.net = bench.network().to(memory_format=self.format)
        # A tensor may not outlive the inference mode it was made in, if autograd is to see it: these are made outside.
        self.pixels = torch.from_numpy(bench.images).permute(0, 2, 3, 1).contiguous().to(self.device)
        self.labels = torch.from_numpy(bench.labels).to(self.device)
        self.warm_batches = 10 if bench.cuda else 3

    def compiled(self, function):
        if self.kind == 'eager':
            return function
        torch._dynamo.reset()
        return torch.compile(function, dynamic=False, mode='reduce-overhead' if self.kind == 'graphs' else None)

    def batch(self, rows):
        """uint8 N×3×H×W of the rows, already channels-last in memory."""
        return self.pixels[rows].permute(0, 3, 1, 2).contiguous(memory_format=self.format)

    def slices(self, count: int):
        """Batches of one shape: the last one reaches back instead of being shorter, so nothing is compiled twice."""
        size = min(self.args.batch, count)
        return [slice(min(i, count - size), min(i, count - size) + size) for i in range(0, count, size)]

    def options(self) -> dict:
        """The optimizer's implementation: one kernel for all tensors where there is one."""
        return {'fused': True} if self.bench.cuda else {'foreach': True}

    def warm_up(self) -> None:
        self.run(self.warm_batches)

    def repeat(self) -> None:
        self.run(None)

    def common(self) -> dict:
        return {'kind': self.kind, 'precision': self.precision, 'channels_last': self.channels_last}


class Score(Stage):
    def __init__(self, *given) -> None:
        super().__init__(*given)
        self.net.eval()
        self.images = self.args.rows
        self.sce, self.odds = (torch.empty(self.args.rows, device=self.device) for _ in range(2))

        def body(x, y):
            with self.cast():
                logits = self.net(x)
            logits = logits.float()
            return ref.sce(logits, y), ref.log_odds(logits, y)

        self.body = self.compiled(body)

    def run(self, limit) -> None:
        with torch.inference_mode():
            for s in self.slices(self.args.rows)[:limit]:
                self.sce[s], self.odds[s] = self.body(self.batch(s), self.labels[s])
            self.result_odds = self.odds.cpu()  # what the purifier reads

    def result(self, _seconds) -> dict:
        from pytorch_baseline import purified_digest

        odds = self.result_odds.numpy()
        return {**self.common(), 'purified': purified_digest(self.bench, odds), 'logodds_mean': float(odds.mean()),
                'check_difference': self.bench.check_difference(odds)}


class Train(Stage):
    def __init__(self, *given) -> None:
        super().__init__(*given)
        self.net.train()
        # Under reduce-overhead the gradients live in the graph's pool; they are used up before its next replay.
        self.sgd = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, **self.options())
        self.scaler = torch.amp.GradScaler(self.device.type, init_scale=1024.0, growth_interval=10**9,
                                           enabled=self.precision == 'fp16')
        self.images = self.args.rows // self.args.batch * self.args.batch
        self.padded = F.pad(self.pixels, (0, 0, 4, 4, 4, 4))
        self.height, self.width = self.pixels.shape[1:3]
        self.loss_sum, self.correct = (torch.zeros((), device=self.device) for _ in range(2))

        def body(x, y):
            with self.cast():
                logits = self.net(x)
            logits = logits.float()
            return F.cross_entropy(logits, y), (logits.argmax(1) == y).sum()

        self.body = self.compiled(body)

    def augmented(self, rows, top, left, flip):
        """Crop and flip as one gather from the padded images."""
        across = torch.arange(self.width, device=self.device).expand(len(rows), -1)
        across = torch.where(flip[:, None], self.width - 1 - across, across) + left[:, None]
        down = torch.arange(self.height, device=self.device) + top[:, None]
        x = self.padded[rows[:, None, None], down[:, :, None], across[:, None, :]]
        return x.permute(0, 3, 1, 2).contiguous(memory_format=self.format)

    def run(self, limit) -> None:
        n, size = self.args.rows, self.args.batch
        draw = functools.partial(torch.randint, device=self.device)
        order = torch.randperm(n, device=self.device)
        top, left, flip = draw(0, 9, (n,)), draw(0, 9, (n,)), draw(0, 2, (n,)).bool()
        self.loss_sum.zero_()
        self.correct.zero_()
        steps = min(limit or n, n // size)
        for i in range(steps):
            s = slice(i * size, (i + 1) * size)
            rows = order[s]
            loss, correct = self.body(self.augmented(rows, top[s], left[s], flip[s]), self.labels[rows])
            self.scaler.scale(loss).backward()
            self.scaler.step(self.sgd)
            self.scaler.update()
            self.loss_sum += loss.detach()
            self.correct += correct
            self.sgd.zero_grad()
        self.loss = (self.loss_sum / steps).item()

    def result(self, _seconds) -> dict:
        return {**self.common(), 'last_epoch_loss': self.loss, 'optimizer': next(iter(self.options()))}


class Clip(Stage):
    def __init__(self, *given) -> None:
        super().__init__(*given)
        self.net.eval().requires_grad_(False)
        self.images = self.args.steps * self.args.batch
        self.reference = torch.empty(self.args.rows, self.args.classes, device=self.device)

        def free(x):
            with self.cast():
                return self.net(x).float()

        def fill():
            with torch.inference_mode():
                for s in self.slices(self.args.rows):
                    self.reference[s] = free(self.batch(s))

        self.reference_seconds = self.bench.clock(fill)  # once a stage; not part of a repeat

        def body(x, reference, z):
            with self.cast():
                logits = self.net(x, z)
            return ref.clip_loss(logits.float(), reference, self.net.sites, [z], self.args.lam)

        self.body = self.compiled(body)
        self.z = torch.full((self.net.channels,), self.args.z0, device=self.device, requires_grad=True)

    def run(self, limit) -> None:
        with torch.no_grad():
            self.z.fill_(self.args.z0)
        adam = torch.optim.Adam([self.z], lr=0.1, **self.options())
        order, position = None, self.args.rows
        for _ in range(limit or self.args.steps):
            if position + self.args.batch > self.args.rows:
                order, position = torch.randperm(self.args.rows, device=self.device), 0
            rows = order[position:position + self.args.batch]
            position += self.args.batch
            loss = self.body(self.batch(rows), self.reference[rows], self.z)
            loss.backward()
            adam.step()
            with torch.no_grad():
                self.z.clamp_(min=0)
            adam.zero_grad()
        self.loss = loss.detach().item()

    def result(self, seconds) -> dict:
        return {**self.common(), 'steps': self.args.steps, 'seconds_per_step': seconds / self.args.steps,
                'reference_seconds': self.reference_seconds, 'last_loss': self.loss,
                'bounds_mean': self.z.detach().mean().item()}


class Tune(Stage):
    """Features of x once; of x′ anew in every epoch (exact), or --draws of each row up front."""

    def __init__(self, *given) -> None:
        super().__init__(*given)
        a = self.args
        self.net.eval().requires_grad_(False)
        self.draws = a.draws
        self.whole = a.full and not a.draws
        self.measured = a.epochs if a.full or a.draws else 1  # epochs in a repeat
        width = self.net.linear.in_features
        self.features = torch.empty(a.rows, width, device=self.device)
        self.copies = torch.empty(max(1, a.draws), a.rows, width, device=self.device)
        # How many images of backbone a repeat holds; the exact form's first pass over x is in base_seconds.
        self.images = a.rows * (1 + a.draws if a.draws else self.measured)

        def plain_features(x):
            with self.cast():
                return self.net.features(x).float()

        def augmented_features(x, brightness, contrast, flip):
            with self.cast():
                return self.net.features(ref.augment(x.float() / 255, brightness, contrast, flip)).float()

        def head_loss(x, augmented, y):
            return ref.tune_loss(self.head(x), self.head(augmented), y)

        self.head = copy.deepcopy(self.net.linear).requires_grad_(True)
        self.plain_features = self.compiled(plain_features)
        self.augmented_features = torch.compile(augmented_features, dynamic=False) if self.kind != 'eager' \
            else augmented_features
        self.head_loss = torch.compile(head_loss, dynamic=False) if self.kind != 'eager' else head_loss
        self.sgd = torch.optim.SGD(self.head.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, **self.options())
        self.base_seconds = 0.0

    def base(self, limit=None) -> None:
        with torch.inference_mode():
            for s in self.slices(self.args.rows)[:limit]:
                self.features[s] = self.plain_features(self.batch(s))

    def draw(self, copy_index: int, limit=None) -> None:
        n = self.args.rows
        brightness, contrast = (torch.empty(n, device=self.device).uniform_(0.6, 1.4) for _ in range(2))
        flip = torch.rand(n, device=self.device) < 0.5
        with torch.inference_mode():
            for s in self.slices(n)[:limit]:
                self.copies[copy_index, s] = self.augmented_features(self.batch(s), brightness[s], contrast[s], flip[s])

    def head_epoch(self, copy_index: int) -> None:
        order = torch.randperm(self.args.rows, device=self.device)
        for rows in order.split(HEAD_BATCH):
            loss = self.head_loss(self.features[rows], self.copies[copy_index, rows], self.labels[rows])
            loss.backward()
            self.sgd.step()
            self.sgd.zero_grad()
        self.loss = loss.detach()

    def warm_up(self) -> None:
        self.base(self.warm_batches)
        self.draw(0, self.warm_batches)
        self.head_epoch(0)
        if not self.draws:
            self.base_seconds = self.bench.clock(self.base)

    def repeat(self) -> None:
        if self.draws:
            self.base()
            for k in range(self.draws):
                self.draw(k)
        for epoch in range(self.measured):
            if not self.draws:
                self.draw(0)
            self.head_epoch(epoch % max(1, self.draws))

    def result(self, seconds) -> dict:
        each = seconds / self.measured
        total = seconds if self.draws else self.base_seconds + each * self.args.epochs
        exact = self.whole or bool(self.draws)
        return {**self.common(), 'seconds': total, 'seconds_per_epoch': None if self.draws else each,
                'base_seconds': self.base_seconds, 'epochs': self.args.epochs, 'draws': self.draws,
                'extrapolated': not exact, 'last_loss': self.loss.item()}


def cpu_has_bf16() -> bool:
    """True where the processor multiplies bfloat16 itself; elsewhere it is emulated and slow."""
    try:
        with open('/proc/cpuinfo') as file:
            flags = next((line for line in file if line.startswith('flags')), '')
    except OSError:
        return False
    return 'avx512_bf16' in flags or 'amx_bf16' in flags


def variants(bench):
    """Every variant that makes sense on this device, eager first."""
    stage = {'score': Score, 'train': Train, 'clip': Clip, 'tune': Tune}[bench.args.stage]
    precisions = ['tf32', 'bf16', 'fp16'] if bench.cuda else ['fp32', *(['bf16'] if cpu_has_bf16() else [])]
    kinds = ['eager', 'compile', *(['graphs'] if bench.cuda and bench.args.stage in ('train', 'clip') else [])]
    # fp16 without a loss scale would lose the small gradients of the bounds.
    pairs = [(k, p) for k in kinds for p in precisions if not (p == 'fp16' and bench.args.stage == 'clip')]
    return [(f'{k}-{p}', functools.partial(stage, bench, k, p)) for k, p in pairs]
