"""Makes the parity fixtures: what plain PyTorch answers, for the C++ core to be compared with.

    python test/parity/make_fixtures.py test/parity/fixtures

The files in test/parity/fixtures were made with torch 2.13.0 (CPU, one thread, float32) and numpy 2.4.6. Seeds: data
come from NumPy generators and weights from torch.manual_seed, both numbered where they are used below; another torch
version gives the same numbers up to rounding. The network and every formula are in bench/padft_reference.py.

Each fixture is one .safetensors file; index.json says what is in it, with which options, and how close an answer has
to come: [absolute, relative], |got − expected| ≤ absolute + relative · |expected|; [0, 0] means equal bit for bit.
Everything that rounds is computed again in float64 and, six times, in float32 with other convolution kernels and from
weights moved by several units in their last place. index.json records how far the answers lay apart, and the script
refuses to write a tolerance of less than that (four times that, in float64). Seeds were chosen so that no
kink decides anything (see calm_network). So a difference beyond the tolerance is one of arithmetic, not of rounding.

 1. forward-*      logits and features in evaluation mode; the same under bounds of each kind; per-label limits; ranges
 2. losses         SCE, log-odds, consistency, suspects' term, MSE, with their gradients
    bounds-gradient  gradient of the clip loss with respect to the bounds
 3. train          ten SGD steps of the whole network on one batch
 4. bounds-*       ten Adam steps of absolute bounds and of fractions; bounds-layer-*: one bound a layer
 5. tune           five epochs of the classifier on given features
 6. augment        flip, brightness, contrast
 7. triggers       replace, blend and add on uint8 pixels
    warp-*         WaNet's grid and what bilinear sampling at it gives
 8. anew           NT-Xent, MixMatch's two losses and its sharpening, with their gradients
 9. numpy-random   RandomState(0).permutation, which older public code draws its poisoned rows with
"""

from __future__ import annotations

import copy
import json
import os
import sys
from typing import NamedTuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'bench'))

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import padft_reference as ref

EXACT = (0.0, 0.0)

out = sys.argv[1] if len(sys.argv) == 2 else sys.exit('usage: make_fixtures.py OUT (a folder)')
os.makedirs(out, exist_ok=True)
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
fixtures: dict[str, dict] = {}


def save(name: str, what: str, inputs: dict, answers: dict, exact: dict | None = None, checks: list[dict] | None = None,
         tolerance: tuple[float, float] = EXACT, **about) -> None:
    """Writes one fixture. `answers` round and are held against `checks`, the same names computed otherwise."""
    entry: dict = {'file': f'{name}.safetensors', 'what': what, **about, 'inputs': list(inputs), 'tolerance': {},
                   'rounding': {}}
    atol, rtol = tolerance
    for key, value in answers.items():
        expected = value.detach().double()
        exactly, *moved = [(expected - check[key].detach().double()).abs() for check in checks]
        difference = torch.stack([4 * exactly, *moved]).amax(0)
        if not bool((difference <= atol + rtol * expected.abs()).all()):
            raise SystemExit(f'{name}/{key}: answers lie {difference.max():.3g} apart, too far for its tolerance')
        entry['tolerance'][key] = [atol, rtol]
        entry['rounding'][key] = float(f'{difference.max().item():.2g}')
    for key in exact or {}:
        entry['tolerance'][key] = list(EXACT)
    tensors = {**inputs, **answers, **(exact or {})}
    # Labels and rows are int32 on the C++ border.
    tensors = {k: v.int() if isinstance(v, Tensor) and v.dtype == torch.int64 else v for k, v in tensors.items()}
    ref.write_safetensors(os.path.join(out, entry['file']), tensors, {'torch': torch.__version__, 'fixture': name})
    fixtures[name] = entry


def pixels(rows: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    images, labels = ref.made_images(rows, classes, seed)
    return torch.from_numpy(images), torch.from_numpy(labels)


def made_network(classes: int, width: int, seed: int, mean, std) -> ref.PreActResNet18:
    """A network in which nothing is trivial: batch norms have statistics, scales and offsets of their own."""
    torch.manual_seed(seed)
    net = ref.PreActResNet18(classes, width, mean, std)
    images, _ = pixels(64, classes, seed + 1000)
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.copy_(torch.empty_like(norm.weight).uniform_(0.5, 2.5))
            norm.bias.copy_(torch.empty_like(norm.bias).normal_(0.2, 0.4))
        net.train()
        for _ in range(30):  # statistics near the data's own …
            net(images)
        for norm in norms:  # … and then off them
            norm.running_mean += norm.running_var.sqrt() * torch.empty_like(norm.running_mean).normal_(0, 0.2)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.6, 1.5)
        net.eval()
        net.linear.weight *= 3 / net(images).std()
        net.linear.bias.normal_(0, 0.3)
    return net


def calm_network(seed: int) -> ref.PreActResNet18:
    """Width 4, 10 classes: offsets put most pre-activations well to one side of 0, the rest is ordinary.

    Where an activation passes a kink (0, or its bound) for one rounding and not for another, gradients differ by more
    than rounding, and what learns from them for ten steps parts for good. A comparison then would compare rounding.
    """
    torch.manual_seed(seed)
    net = ref.PreActResNet18(10, 4)
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    images, _ = pixels(64, 10, seed + 1000)
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.6, 1.2)
            side = torch.empty_like(norm.bias).uniform_(1.6, 2.6)
            norm.bias.copy_(norm.weight * side * torch.where(torch.rand_like(norm.bias) < 0.7, 1.0, -1.0))
        net.train()
        for _ in range(30):
            net(images)
        for norm in norms:
            norm.running_mean += norm.running_var.sqrt() * torch.empty_like(norm.running_mean).normal_(0, 0.1)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.2)
    return net.eval()


class Run(NamedTuple):
    """How one computation is carried out: in which type, and with the weights moved or not."""

    dtype: torch.dtype
    moved: int = 0

    def copy(self, module: torch.nn.Module, channels_last: bool = True) -> torch.nn.Module:
        """The module in this type; when moved, each weight off by a relative 4e-7, a few of its last units."""
        module = copy.deepcopy(module).to(self.dtype)
        if self.moved:
            random = torch.Generator().manual_seed(self.moved)
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.mul_(1 + 4e-7 * torch.randn(parameter.shape, generator=random))
            if channels_last:  # other convolution kernels as well
                module.to(memory_format=torch.channels_last)
        return module


def repeated(compute) -> tuple[dict, list[dict]]:
    """`compute` in float32 (the answer), and in float64 and six times from moved weights (the checks)."""
    return compute(Run(torch.float32)), [compute(Run(torch.float64)),
                                         *(compute(Run(torch.float32, moved)) for moved in range(1, 7))]


# ---------------------------------------------------------------------------------------------------------------------
# 1. Forward
# ---------------------------------------------------------------------------------------------------------------------

MODEL_W4 = {'classes': 10, 'width': 4, 'inputChannels': 3, 'mean': ref.CIFAR10_MEAN, 'std': ref.CIFAR10_STD}
MODEL_W8 = {'classes': 7, 'width': 8, 'inputChannels': 3, 'mean': ref.CIFAR100_MEAN, 'std': ref.CIFAR100_STD}
net4 = made_network(10, 4, 1, ref.CIFAR10_MEAN, ref.CIFAR10_STD)
calm = calm_network(134)
net8 = made_network(7, 8, 2, ref.CIFAR100_MEAN, ref.CIFAR100_STD)
SITES = [[s.name, s.channels] for s in net4.sites]
LOGITS = (1e-4, 0.0)


def forward_fixture(name: str, net: ref.PreActResNet18, model: dict, seed: int) -> None:
    images, labels = pixels(16, model['classes'], seed)
    with torch.no_grad():
        # Half of the labels are what the network says, so that log-odds of both signs occur.
        labels = torch.where(torch.arange(16) % 2 == 0, net(images).argmax(1), labels)
        means, maxima = net.statistics(images)
        # Bounds at the 60 % quantile over the images: each bites on about 40 % of them.
        max_bounds, mean_bounds = maxima.quantile(0.6, 0), means.quantile(0.6, 0)

        # Limits by label: the 0.95-quantile of the means (0.99 of the maxima) over the rows of every *other* label.
        def leave_one_out(values: Tensor, quantile: float) -> Tensor:
            return torch.stack([values[labels != c].quantile(quantile, 0) for c in range(model['classes'])])

        mean_limits, max_limits = leave_one_out(means, 0.95), leave_one_out(maxima, 0.99)

        def compute(run: Run) -> dict:
            n = run.copy(net)
            up, lo, lim, limx = (t.to(run.dtype) for t in (max_bounds, mean_bounds, mean_limits, max_limits))
            m, x = n.statistics(images)
            free = n(images)
            answers = {'logits': free, 'features': n.features(images), 'logits.max': n(images, up),
                       'logits.mean': n(images, None, lo), 'logits.both': n(images, up, lo),
                       'features.both': n.features(images, up, lo), 'statistic.mean': m, 'statistic.max': x,
                       'sce': ref.sce(free, labels), 'logodds': ref.log_odds(free, labels)}
            answers.update({'ranges.mean': leave_one_out(m, 0.95), 'ranges.max': leave_one_out(x, 0.99),
                            'ranges.mean.all': m.quantile(0.95, 0, keepdim=True)})
            # Each row is held to its own label's limits; bounds on the mean and on the largest apart.
            for kind, logits in (('mean', n(images, None, lim[labels])), ('max', n(images, limx[labels]))):
                answers[f'limited.{kind}.logodds'] = ref.log_odds(logits, labels)
                answers[f'limited.{kind}.sce'] = ref.sce(logits, labels)
            return answers

        answers, checks = repeated(compute)
        free, held = net(images), net(images, None, mean_limits[labels])
        for logits in (free, held):  # a near tie would leave the predicted class to rounding
            best = ref.without_label(logits, labels).topk(2).values
            assert min((best[:, 0] - best[:, 1]).min(), ref.log_odds(logits, labels).abs().min()) > 1e-3
        exact = {'predicted': free.argmax(1), 'alternative': ref.without_label(free, labels).argmax(1),
                 'limited.mean.predicted': held.argmax(1),
                 'limited.mean.alternative': ref.without_label(held, labels).argmax(1)}
    print(f'{name}: logits std {free.std():.2f}, largest activation {maxima.max():.1f}, channels whose maximum '
          f'passes 8: {(maxima.amax(0) > 8).float().mean():.2f}, dead: {(maxima.amax(0) == 0).float().mean():.2f}')
    save(name, 'Evaluation-mode forward of 16 images; under bounds on the largest activation, on the mean, on both; '
         'scores with and without limits by label (ranges.mean and ranges.max are the limits, one row per label).',
         {'images': images, 'labels': labels, 'bounds.max': max_bounds, 'bounds.mean': mean_bounds},
         answers, exact, checks, LOGITS, model=model,
         state=f'state-{name.removeprefix("forward-")}.safetensors',
         options={'alpha': 0.1, 'logZero': ref.LOG_ZERO,
                  'ranges': {'ranges.mean': {'statistic': 'mean', 'quantile': 0.95, 'leaveOneLabelOut': True},
                             'ranges.max': {'statistic': 'max', 'quantile': 0.99, 'leaveOneLabelOut': True},
                             'ranges.mean.all': {'statistic': 'mean', 'quantile': 0.95, 'leaveOneLabelOut': False}}})


ref.write_safetensors(os.path.join(out, 'state-calm.safetensors'), calm.state_dict(),
                      {'torch': torch.__version__, 'state': 'calm'})
for tag, net, model, seed in (('w4', net4, MODEL_W4, 11), ('w8-c7', net8, MODEL_W8, 12)):
    ref.write_safetensors(os.path.join(out, f'state-{tag}.safetensors'), net.state_dict(),
                          {'torch': torch.__version__, 'state': tag})
    forward_fixture(f'forward-{tag}', net, model, seed)


# ---------------------------------------------------------------------------------------------------------------------
# 2. Losses and gradients
# ---------------------------------------------------------------------------------------------------------------------


def losses_fixture() -> None:
    rng = np.random.default_rng(21)
    logits = torch.from_numpy(rng.normal(0, 3, (12, 10)).astype(np.float32))
    other = logits + torch.from_numpy(rng.normal(0, 1, (12, 10)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 10, 12))
    logits[0, labels[0]] += 40  # a saturated row: SCE is 0 to rounding, log-odds are not
    logits[1, labels[1]] -= 40  # and one sure of another label

    def compute(run: Run) -> dict:
        z, w = logits.to(run.dtype, copy=True).requires_grad_(), other.to(run.dtype, copy=True).requires_grad_()
        answers = {'sce': ref.sce(z, labels), 'logodds': ref.log_odds(z, labels),
                   'mse': F.mse_loss(z, w), 'consistency': ref.consistency(z, w),
                   'suspects': ref.suspect_term(z, labels, 2.0)}
        answers['sce.gradient'], = torch.autograd.grad(ref.sce(z, labels).mean(), z)
        answers['logodds.gradient'], = torch.autograd.grad(ref.log_odds(z, labels).mean(), z)
        answers['mse.gradient'], = torch.autograd.grad(F.mse_loss(z, w), z)
        answers['consistency.gradient'], answers['consistency.gradient.augmented'] = torch.autograd.grad(
            ref.consistency(z, w), (z, w))
        answers['suspects.gradient'], = torch.autograd.grad(ref.suspect_term(z, labels, 2.0), z)
        return answers

    answers, checks = repeated(compute)
    save('losses', 'Per-row scores, losses (means over rows; mse over rows and classes) and their gradients with '
         'respect to the logits; x.augmented is the second argument of consistency and mse.',
         {'logits': logits, 'logits.augmented': other, 'labels': labels}, answers, None, checks, (2e-6, 2e-5),
         options={'alpha': 0.1, 'logZero': ref.LOG_ZERO, 'margin': 2.0})


def bounds_gradient_fixture() -> None:
    images, _ = pixels(8, 10, 22)
    with torch.no_grad():
        means, maxima = calm.statistics(images)
        # Between order statistics, and no bound at zero: nowhere a tie, where min has no gradient.
        start = {'max': (0.7 * maxima.amax(0)).clamp_min(0.05), 'mean': (0.7 * means.amax(0)).clamp_min(0.01)}

    def compute(run: Run) -> dict:
        n = run.copy(calm).requires_grad_(False)
        reference = n(images)
        answers: dict[str, Tensor] = {}
        for case, kinds in (('max', ['max']), ('mean', ['mean']), ('both', ['max', 'mean'])):
            z = {k: start[k].to(run.dtype, copy=True).requires_grad_() for k in kinds}
            logits = n(images, z.get('max'), z.get('mean'))
            loss = ref.clip_loss(logits, reference, n.sites, list(z.values()), 0.005)
            answers[f'{case}.mse'] = F.mse_loss(logits, reference)
            answers[f'{case}.loss'] = loss
            for kind, gradient in zip(kinds, torch.autograd.grad(loss, list(z.values()))):
                answers[f'{case}.gradient.{kind}'] = gradient
        return answers

    answers, checks = repeated(compute)
    save('bounds-gradient', 'MSE to the unbounded logits + λ · Σ_l ‖z_l‖₂ (over both kinds where both bound) and its '
         'gradient with respect to the bounds, for bounds on the largest, on the mean, and on both.',
         {'images': images, 'bounds.max': start['max'], 'bounds.mean': start['mean']}, answers, None, checks,
         (1e-5, 1e-5), model=MODEL_W4, state='state-calm.safetensors', options={'lambda': 0.005})


losses_fixture()
bounds_gradient_fixture()


# ---------------------------------------------------------------------------------------------------------------------
# 3. Training
# ---------------------------------------------------------------------------------------------------------------------


def train_fixture() -> None:
    # Seed: one of few for which no pre-activation comes near 0 in ten steps; that is asserted below.
    images, labels = pixels(32, 10, 82)
    nearest = [torch.inf]

    def compute(run: Run) -> dict:
        # Not channels-last: there, with fewer than 8 input channels, oneDNN's weight gradient of the 1×1 stride-2
        # shortcut writes outside its memory (torch 2.13.0, AVX2).
        n = run.copy(calm, channels_last=False).train()
        if run.dtype == torch.float64:
            for norm in (m for m in n.modules() if isinstance(m, torch.nn.BatchNorm2d)):
                norm.register_forward_hook(
                    lambda _module, _input, y: nearest.append(y.detach().abs().min().item()))
        sgd = torch.optim.SGD(n.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        losses = []
        for _ in range(10):
            sgd.zero_grad()
            loss = F.cross_entropy(n(images), labels)
            loss.backward()
            sgd.step()
            losses.append(loss.detach())
        return {'loss': torch.stack(losses),
                **{f'final.{k}': v for k, v in n.state_dict().items() if v.is_floating_point()}}

    answers, checks = repeated(compute)
    if min(nearest) < 3e-6:
        raise SystemExit(f'train: a pre-activation came within {min(nearest):.2g} of 0; choose another seed')
    print(f'train: nearest pre-activation {min(nearest):.2g}, losses', [round(v, 3) for v in answers['loss'].tolist()])
    save('train', 'Ten SGD steps (momentum .9, weight decay 5e-4 on every parameter, lr .05) from state-calm, each on '
         'all 32 rows, training mode, no augmentation, cross-entropy. loss: before each step; final.*: the state '
         'after the last. num_batches_tracked rises by 10.',
         {'images': images, 'labels': labels}, answers, None, checks, (2e-5, 2e-5), model=MODEL_W4,
         state='state-calm.safetensors',
         options={'steps': 10, 'batchSize': 32, 'learningRate': 0.05, 'momentum': 0.9, 'weightDecay': 5e-4})


# ---------------------------------------------------------------------------------------------------------------------
# 4. Bounds
# ---------------------------------------------------------------------------------------------------------------------


def bounds_absolute_fixture(case: str, net: ref.PreActResNet18, state: str, start: dict[str, Tensor], rate: float,
                            lam: float, images: Tensor) -> None:
    def compute(run: Run) -> dict:
        n = run.copy(net).requires_grad_(False)
        reference = n(images)
        z = {kind: value.to(run.dtype, copy=True).requires_grad_() for kind, value in start.items()}
        adam = torch.optim.Adam(list(z.values()), lr=rate, betas=(0.9, 0.999), eps=1e-8)
        losses, errors = [], []
        for _ in range(10):
            adam.zero_grad()
            logits = n(images, z.get('max'), z.get('mean'))
            loss = ref.clip_loss(logits, reference, n.sites, list(z.values()), lam)
            loss.backward()
            adam.step()
            with torch.no_grad():
                for value in z.values():
                    value.clamp_(min=0)
            losses.append(loss.detach())
            errors.append(F.mse_loss(logits, reference).detach())
        return {'loss': torch.stack(losses), 'mse': torch.stack(errors),
                **{f'final.{kind}': value.detach() for kind, value in z.items()}}

    answers, checks = repeated(compute)
    print(f'bounds-absolute-{case}: mse {answers["mse"][[0, -1]].tolist()}, bounds moved by '
          f'{[(answers[f"final.{k}"] - v).abs().mean().item() for k, v in start.items()]}')
    save(f'bounds-absolute-{case}', 'Ten Adam steps of the bounds themselves, from start, on all 8 rows: plain MSE to '
         'the unbounded logits + λ · Σ_l ‖z_l‖₂ (over both kinds where both bound), bounds clamped at 0 after each '
         'step. loss, mse: before each step; final: after the last.',
         {'images': images, **{f'start.{kind}': value for kind, value in start.items()}}, answers, None, checks,
         (1e-4, 1e-4), model=MODEL_W4, state=f'{state}.safetensors',
         options={'steps': 10, 'learningRate': rate, 'lambda': lam, 'scale': 'plain', 'betas': [0.9, 0.999],
                  'eps': 1e-8})


def bounds_absolute_fixtures(seed: int) -> None:
    images, _ = pixels(8, 10, seed)
    # As published: z₀ = 8, lr 0.1, λ 0.5. Here the penalty decides.
    bounds_absolute_fixture('published', net4, 'state-w4', {'max': torch.full((net4.channels,), 8.0)}, 0.1, 0.5, images)
    # Both kinds, λ so small that the error decides, steps so small that no bound reaches 0.
    with torch.no_grad():
        means, maxima = calm.statistics(images)
    bounds_absolute_fixture('ranges', calm, 'state-calm', {'max': 0.8 * maxima.amax(0) + 0.2,
                                                           'mean': 0.8 * means.amax(0) + 0.1}, 0.005, 2e-4, images)


def bounds_layer_fixture(parameters: str, kinds: list[str], seed: int, rate: float, lam: float) -> None:
    """One parameter a layer: a bound itself, or a share of its channels' ranges."""
    images, _ = pixels(8, 10, seed)
    layer = torch.repeat_interleave(torch.arange(len(calm.sites)), torch.tensor([s.channels for s in calm.sites]))
    with torch.no_grad():
        means, maxima = calm.statistics(images)
        ranges = {'max': 0.9 * maxima.amax(0), 'mean': 0.9 * means.amax(0)}
        # A layer's one bound starts at the largest of its channels' ranges.
        largest = {kind: torch.stack([v[layer == site].max() for site in range(len(calm.sites))])
                   for kind, v in ranges.items()}
    absolute = parameters == 'absolute'

    def compute(run: Run) -> dict:
        n = run.copy(calm).requires_grad_(False)
        free = n(images)
        scale = 1 if absolute else free.var(correction=0)
        learned = {kind: (v.to(run.dtype, copy=True) if absolute else torch.ones_like(v, dtype=run.dtype)).requires_grad_()
                   for kind, v in largest.items() if kind in kinds}

        def bound(kind: str) -> Tensor:
            return learned[kind][layer] * (1 if absolute else ranges[kind].to(run.dtype))

        adam = torch.optim.Adam(list(learned.values()), lr=rate, betas=(0.9, 0.999), eps=1e-8)
        losses, errors = [], []
        for _ in range(10):
            adam.zero_grad()
            z = {kind: bound(kind) for kind in kinds}
            mse = F.mse_loss(n(images, z.get('max'), z.get('mean')), free)
            both = torch.cat(list(learned.values()))
            loss = mse / scale + lam * (both.abs().sum() if absolute else both.mean())
            loss.backward()
            adam.step()
            with torch.no_grad():
                for value in learned.values():
                    value.clamp_(0, None if absolute else 1)
            losses.append(loss.detach())
            errors.append((mse / scale).detach())
        return {'loss': torch.stack(losses), 'mse': torch.stack(errors),
                **{f'final.{kind}': bound(kind).detach() for kind in learned}}

    answers, checks = repeated(compute)
    print(f'bounds-layer-{parameters}: loss {answers["loss"][[0, -1]].tolist()}, mse {answers["mse"][[0, -1]].tolist()}')
    save(f'bounds-layer-{parameters}', 'Ten Adam steps of one parameter a layer and kind, on all 8 rows. absolute: the '
         'bound itself, from the largest of its channels\' ranges; MSE + λ · Σ |z|, bounds clamped at 0. fraction: a '
         'share of every channel\'s range, from 1, clamped to [0, 1]; MSE / variance + λ · mean share. loss, mse (as it '
         'enters the loss): before each step; final: every channel\'s bound after the last.',
         {'images': images, **{f'ranges.{kind}': ranges[kind] for kind in kinds}}, answers, None, checks,
         (1e-4, 1e-4), model=MODEL_W4, state='state-calm.safetensors',
         options={'steps': 10, 'learningRate': rate, 'lambda': lam, 'scale': 'plain' if absolute else 'variance',
                  'betas': [0.9, 0.999], 'eps': 1e-8})


def bounds_fraction_fixture(case: str, kinds: list[str], seed: int) -> None:
    # Seeds: Adam makes a full step of the smallest gradient, so that for most data some channel's path hangs on
    # rounding; for those chosen below none does.
    images, labels = pixels(8, 10, seed)
    suspects, _ = pixels(8, 10, seed + 1)
    with torch.no_grad():
        labels = torch.where(torch.arange(8) < 6, calm(images).argmax(1), labels)
        suspect_labels = calm(suspects).argmax(1)
        means, maxima = calm.statistics(images)
        # A little under the data's ranges: at the ranges themselves the largest activation ties with its bound.
        reference_range = {'max': 0.9 * maxima.amax(0), 'mean': 0.9 * means.amax(0)}
    settings = {'lambda': 0.02, 'mu': 0.1, 'margin': 2.0}

    def compute(run: Run) -> dict:
        n = run.copy(calm).requires_grad_(False)
        free = n(images)
        variance = free.var(correction=0)
        share = {k: torch.ones(n.channels, dtype=run.dtype, requires_grad=True) for k in kinds}
        adam = torch.optim.Adam(list(share.values()), lr=0.05, betas=(0.9, 0.999), eps=1e-8)
        losses, errors, suspect_losses = [], [], []
        for _ in range(10):
            adam.zero_grad()
            z = {k: share[k] * reference_range[k].to(run.dtype) for k in kinds}
            logits = n(images, z.get('max'), z.get('mean'))
            suspect_logits = n(suspects, z.get('max'), z.get('mean'))
            loss = ref.fraction_loss(logits, free, variance, list(share.values()), settings['lambda'],
                                     suspect_logits, suspect_labels, settings['mu'], settings['margin'])
            loss.backward()
            adam.step()
            with torch.no_grad():
                for value in share.values():
                    value.clamp_(0, 1)
            losses.append(loss.detach())
            errors.append(F.mse_loss(logits, free).detach())
            suspect_losses.append(ref.suspect_term(suspect_logits, suspect_labels, settings['margin']).detach())
        answers = {'variance': variance, 'loss': torch.stack(losses), 'mse': torch.stack(errors),
                   'suspects_loss': torch.stack(suspect_losses)}
        for kind in kinds:
            answers[f'fraction.{kind}'] = share[kind].detach()
            answers[f'final.{kind}'] = (share[kind] * reference_range[kind].to(run.dtype)).detach()
        return answers

    answers, checks = repeated(compute)
    print(f'bounds-fraction-{case}: loss {answers["loss"][[0, -1]].tolist()}, suspects '
          f'{answers["suspects_loss"][[0, -1]].tolist()}')
    save(f'bounds-fraction-{case}', 'Ten Adam steps of fractions (from 1, clamped to [0, 1] after each step) of the '
         'reference ranges, on all 8 rows and all 8 suspects: MSE / variance + λ · mean of all fractions (of both '
         'kinds together where both bound) + μ · mean softplus(log-odds of the suspects + margin). variance: the '
         'population variance of the unbounded logits of the 8 rows. loss, mse (not divided), suspects_loss: before '
         'each step; fraction, final (fraction · reference): after the last.',
         {'images': images, 'labels': labels, 'suspects': suspects, 'suspect_labels': suspect_labels,
          **{f'reference.{kind}': reference_range[kind] for kind in kinds}},
         answers, None, checks, (1e-4, 1e-4), model=MODEL_W4, state='state-calm.safetensors',
         options={'steps': 10, 'learningRate': 0.05, **settings, 'scale': 'variance', 'betas': [0.9, 0.999],
                  'eps': 1e-8})

train_fixture()
bounds_absolute_fixtures(42)
bounds_fraction_fixture('max', ['max'], 142)
bounds_fraction_fixture('mean', ['mean'], 342)
bounds_fraction_fixture('both', ['max', 'mean'], 1042)
bounds_layer_fixture('absolute', ['max', 'mean'], 242, 0.005, 1e-4)
bounds_layer_fixture('fraction', ['max', 'mean'], 445, 0.02, 0.02)


# ---------------------------------------------------------------------------------------------------------------------
# 5. The classifier
# ---------------------------------------------------------------------------------------------------------------------


def tune_fixture() -> None:
    images, labels = pixels(24, 10, 51)
    suspects, _ = pixels(6, 10, 52)
    rng = np.random.default_rng(53)
    with torch.no_grad():
        x = images.float() / 255
        factors = torch.from_numpy(rng.uniform(0.6, 1.4, (2, 24)).astype(np.float32))
        augmented = ref.augment(x, factors[0], factors[1], torch.from_numpy(rng.random(24) < 0.5))
        features, features_augmented = net4.features(images), net4.features(augmented)
        suspect_features, suspect_labels = net4.features(suspects), net4(suspects).argmax(1)

    def compute(run: Run) -> dict:
        answers: dict[str, Tensor] = {}
        for case, nu in (('paper', 0.0), ('suspects', 0.2)):
            head = run.copy(net4.linear)
            sgd = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
            losses = []
            for _ in range(5):
                sgd.zero_grad()
                loss = ref.tune_loss(head(features.to(run.dtype)), head(features_augmented.to(run.dtype)), labels,
                                     0.1, 0.5, head(suspect_features.to(run.dtype)), suspect_labels, nu, 2.0)
                loss.backward()
                sgd.step()
                losses.append(loss.detach())
            answers[f'{case}.loss'] = torch.stack(losses)
            answers[f'{case}.weight'], answers[f'{case}.bias'] = head.weight.detach(), head.bias.detach()
        return answers

    answers, checks = repeated(compute)
    print('tune: losses', [round(v, 4) for v in answers['paper.loss'].tolist()])
    save('tune', 'Five epochs of one full batch (24 rows) on given features and features of one augmented copy, from '
         'the linear layer weight, bias: β · mean SCE + (1 − β) · consistency (mean over rows), plus ν · mean '
         'softplus(log-odds + margin) of the suspects in case suspects. loss: before each step; weight, bias: after.',
         {'features': features, 'features.augmented': features_augmented, 'labels': labels,
          'suspect_features': suspect_features, 'suspect_labels': suspect_labels, 'weight': net4.linear.weight,
          'bias': net4.linear.bias}, answers, None, checks, (1e-5, 1e-4),
         options={'epochs': 5, 'learningRate': 0.01, 'momentum': 0.9, 'weightDecay': 5e-4, 'beta': 0.5, 'alpha': 0.1,
                  'logZero': ref.LOG_ZERO, 'margin': 2.0, 'nu': {'paper': 0.0, 'suspects': 0.2}})


# ---------------------------------------------------------------------------------------------------------------------
# 6. Augmentation
# ---------------------------------------------------------------------------------------------------------------------


def augment_fixture() -> None:
    images, _ = pixels(4, 10, 61)
    brightness = torch.tensor([0.6, 1.4, 1.0, 1.23])
    contrast = torch.tensor([1.4, 0.6, 1.0, 1.37])
    flip = torch.tensor([False, True, True, False])

    def compute(run: Run) -> dict:
        x = images.to(run.dtype) / 255
        b, c = brightness.to(run.dtype), contrast.to(run.dtype)
        return {'result': ref.augment(x, b, c, flip), 'result.brightness': ref.adjust_brightness(x, b),
                'result.contrast': ref.adjust_contrast(x, c)}

    answers, checks = repeated(compute)
    save('augment', "Pixels / 255, then torchvision's adjust_brightness, then its adjust_contrast, then a horizontal "
         'flip; result.brightness and result.contrast are each step alone on the unchanged image.',
         {'images': images, 'brightness': brightness, 'contrast': contrast, 'flip': flip.to(torch.uint8)}, answers,
         None, checks, (2e-6, 0.0))


# ---------------------------------------------------------------------------------------------------------------------
# 7. Triggers (NumPy, float64, truncated)
# ---------------------------------------------------------------------------------------------------------------------


def triggers_fixture() -> None:
    images = ref.made_images(6, 10, 71)[0]
    images[0, :, :4], images[0, :, 4:8] = 0, 255  # both ends of the range
    rng = np.random.default_rng(72)
    pattern = rng.integers(0, 256, (3, 32, 32)).astype(np.uint8)
    pattern[:, :, :4] = images[1, :, :, :4]  # x = T: the blend must give x back, a fused multiply-add may not
    mask = np.zeros((3, 32, 32), np.uint8)
    mask[:, 29:32, 29:32] = 1
    mask[0, 5, 7] = 1
    wave = np.broadcast_to(40 * np.sin(2 * np.pi * 6 * np.arange(32) / 32), (3, 32, 32)).astype(np.float32)

    def to_bytes(x: np.ndarray) -> np.ndarray:
        return np.clip(x, 0, 255).astype(np.uint8)  # astype truncates

    x = images.astype(np.float64)
    exact = {'replaced': np.where(mask == 1, pattern, images), 'added': to_bytes(x + wave.astype(np.float64))}
    for alpha in (0.2, 0.1):
        exact[f'blended.{alpha}'] = to_bytes((1 - alpha) * x + alpha * pattern.astype(np.float64))
    save('triggers', 'replace: pattern where mask = 1. blended.α: (1 − α) · x + α · pattern. added: x + add.pattern '
         '(float32, a sine of 6 periods, amplitude 40). In float64, clamped to [0, 255], truncated.',
         {'images': images, 'pattern': pattern, 'mask': mask, 'add.pattern': np.ascontiguousarray(wave)}, {}, exact)


def warp_fixture(name: str, k: int, strength: float, rescale: float, height: int, width: int, seed: int) -> None:
    images = torch.from_numpy(ref.made_images(4, 10, seed)[0][:, :, :height, :width].copy())
    images[0], images[1, :, : height // 2] = 255, 0  # what has no neighbours of another value stays what it is
    raw = torch.from_numpy(np.random.default_rng(seed + 1).uniform(-1, 1, (1, 2, k, k)).astype(np.float32))

    def compute(run: Run) -> dict:
        field = raw.to(run.dtype) / raw.to(run.dtype).abs().mean()
        moves = F.interpolate(field, size=(height, width), mode='bicubic', align_corners=True)[0].permute(1, 2, 0)
        y, x = torch.meshgrid(torch.linspace(-1, 1, height, dtype=run.dtype),
                              torch.linspace(-1, 1, width, dtype=run.dtype), indexing='ij')
        size = torch.tensor([width, height], dtype=run.dtype)
        return {'grid': ((torch.stack((x, y), 2) + strength * moves / size) * rescale).clamp(-1, 1)}

    answers, checks = repeated(compute)
    grid = answers['grid'][None].expand(4, -1, -1, -1)
    sample = dict(mode='bilinear', padding_mode='zeros', align_corners=True)
    warped = (F.grid_sample(images.double(), grid.double(), **sample) + 1 / 1024).clamp(0, 255).to(torch.uint8)
    published = (F.grid_sample(images.float() / 255, grid, **sample) * 255).clamp(0, 255).to(torch.uint8)
    differ = (warped != published).double().mean().item()
    print(f'warp-{name}: {differ:.4f} of all values differ between float64 and float32')
    save(f'warp-{name}', 'grid: (identity + strength · field / (W, H)) · rescale, clamped to [-1, 1], H×W×2 (x, y); '
         'field, 2×k×k, is first divided by its mean absolute value and enlarged, bicubic, corners aligned. warped: '
         'bilinear samples of the uint8 images at grid in float64, + 1/1024, truncated. warped.float32: the same in '
         'float32 on [0, 1], truncated without that.',
         {'images': images, 'field': raw[0]}, answers, {'warped': warped, 'warped.float32': published}, checks,
         (1e-6, 0.0), options={'strength': strength, 'rescale': rescale, 'share': 0.05})
    # Where rounding decides, truncation takes a level.
    fixtures[f'warp-{name}']['tolerance']['warped.float32'] = [1.0, 0.0]


# ---------------------------------------------------------------------------------------------------------------------
# 8. Training anew: SimCLR's loss and MixMatch's
# ---------------------------------------------------------------------------------------------------------------------


def anew_fixture() -> None:
    rng = np.random.default_rng(81)

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(0, 1, shape).astype(np.float32))

    first, second, logits = normal(8, 5), normal(8, 5), 3 * normal(12, 10)
    targets = torch.softmax(2 * normal(12, 10), 1)

    def compute(run: Run) -> dict:
        a, b, z = (t.to(run.dtype, copy=True).requires_grad_() for t in (first, second, logits))
        q = targets.to(run.dtype)
        unit = F.normalize(torch.cat([a, b]))
        similarity = (unit @ unit.t() / 0.5)[~torch.eye(16, dtype=torch.bool)].view(16, 15)  # without itself
        partner = torch.cat([torch.arange(7, 15), torch.arange(0, 8)])
        contrast = F.cross_entropy(similarity, partner)
        answers = {'ntxent': contrast, 'soft': F.cross_entropy(z, q, reduction='none'),
                   'squared': F.mse_loss(z.softmax(1), q, reduction='none').mean(1),
                   'sharpened': q ** 2 / (q ** 2).sum(1, keepdim=True)}
        answers['ntxent.gradient.first'], answers['ntxent.gradient.second'] = torch.autograd.grad(contrast, (a, b))
        answers['soft.gradient'], = torch.autograd.grad(F.cross_entropy(z, q), z)
        answers['squared.gradient'], = torch.autograd.grad(F.mse_loss(z.softmax(1), q), z)
        return answers

    answers, checks = repeated(compute)
    save('anew', 'NT-Xent (mean), and by row cross-entropy and squared error against given probabilities, with the gradients '
         'of their means; sharpened targets.', {'first': first, 'second': second, 'logits': logits, 'targets': targets},
         answers, None, checks, (2e-6, 2e-5), options={'temperature': 0.5, 'sharpening': 0.5})


# ---------------------------------------------------------------------------------------------------------------------
# 9. NumPy's legacy generator
# ---------------------------------------------------------------------------------------------------------------------


def numpy_random_fixture() -> None:
    first = np.random.RandomState(0).permutation(50000)[:10]
    save('numpy-random', 'permutation: np.random.RandomState(0).permutation(50000)[:10].', {}, {},
         {'permutation': first.astype(np.int32)}, options={'seed': 0, 'count': 50000, 'first': first.tolist()})


tune_fixture()
augment_fixture()
triggers_fixture()
warp_fixture('square', 4, 0.5, 1.0, 32, 32, 73)
warp_fixture('wide', 3, 2.0, 0.9, 17, 24, 75)
anew_fixture()
numpy_random_fixture()

index = {'made_by': 'test/parity/make_fixtures.py', 'torch': torch.__version__, 'numpy': np.__version__,
         'device': 'cpu', 'threads': 1, 'sites_w4': SITES,
         'tolerance': '[absolute, relative]: |got - expected| <= absolute + relative * |expected|; [0, 0]: equal',
         'fixtures': fixtures}
with open(os.path.join(out, 'index.json'), 'w', encoding='utf-8') as file:
    json.dump(index, file, indent=1, ensure_ascii=False)
    file.write('\n')
total = sum(os.path.getsize(os.path.join(out, name)) for name in os.listdir(out))
print(f'{len(fixtures)} fixtures, {total / 1e6:.2f} MB in {out}')
if total > 3e6:
    raise SystemExit('the fixtures are larger than 3 MB')
