"""The Python baselines that our own figures are printed beside: one stage, one JSON line.

    python bench/pytorch_baseline.py --mode plain|tuned --stage score|train|clip|tune --device cpu|cuda [...]

`plain` does what public research code does: every image through PIL in a DataLoader, each epoch anew, float32 NCHW,
deterministic cuDNN, the published clipping step, no caching (pytorch_plain.py). `tuned` does the same mathematics as
well as PyTorch allows from Python (pytorch_tuned.py): it tries eager and compiled, float32 (TF32 on CUDA) and half
precision, and reports the fastest as the result and every one of them under `variants`.

What one repeat is: score: all rows. train: one epoch over the rows (the incomplete batch dropped). clip: --steps
Adam steps of a batch out of the rows. tune: one epoch over the rows; its result is the time of all --epochs epochs,
marked `extrapolated` unless --full ran them (with --draws K a repeat is all of it, and nothing is extrapolated).

Before anything is timed, the same stage is run in strict float32 on the first --check-rows rows with nothing random in
it; `check` in the output sums up the result for a comparison with another implementation started from the same --state
and --data, and --check-out writes it as safetensors:
  score: log-odds. train: the loss before each of 3 steps on all check rows (lr .01, momentum .9, weight decay 5e-4).
  clip: bounds on the largest after 10 Adam steps on all check rows (--z0, --lambda, lr 0.1, plain MSE); near.*: the
  MSE and its gradient with respect to the bounds, at 0.8 of the check rows' largest activations.
  tune: weight and bias after 5 epochs of one full batch (lr .01) with x′ = x flipped, neither brightness nor contrast.

Runs on torch 2.11 and later. --data: a safetensors file with images (uint8 N×3×H×W) and labels; without it made data.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import sys
import time
import traceback

START = time.perf_counter()


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description='One PyTorch baseline figure as one JSON line.')
    p.add_argument('--mode', choices=('plain', 'tuned'), required=True)
    p.add_argument('--stage', choices=('score', 'train', 'clip', 'tune'), required=True)
    p.add_argument('--device', default='cpu', help='cpu or cuda')
    p.add_argument('--width', type=int, default=64)
    p.add_argument('--classes', type=int, default=10)
    p.add_argument('--rows', type=int, default=1024, help='training rows (score, train) or rows of D_c (clip, tune)')
    p.add_argument('--batch', type=int, default=0, help='default: 256 (score, tune), 128 (train), 200 (clip)')
    p.add_argument('--repeats', type=int, default=3)
    p.add_argument('--threads', type=int, default=0, help='default: all this process may use')
    p.add_argument('--workers', type=int, default=4, help='DataLoader workers of plain')
    p.add_argument('--seconds-limit', type=float, default=600, help='no repeat and no variant starts after this')
    p.add_argument('--variants', default='', help='only these, comma separated, e.g. eager-fp32,compile-bf16')
    p.add_argument('--steps', type=int, default=10, help='clip: Adam steps in a repeat')
    p.add_argument('--epochs', type=int, default=100, help='tune: epochs the result stands for')
    p.add_argument('--full', action='store_true', help='tune: run every epoch, extrapolate nothing')
    p.add_argument('--draws', type=int, default=0, help='tune, tuned: augmented copies a row; 0 redraws every epoch')
    p.add_argument('--z0', type=float, default=8.0, help='clip: where the bounds start')
    p.add_argument('--lambda', dest='lam', type=float, default=0.5, help='clip: weight of the penalty')
    p.add_argument('--purified', type=int, default=0, help='score: rows kept in all; default 6 %% of the rows')
    p.add_argument('--data', help='safetensors with images and labels')
    p.add_argument('--state', help='safetensors with the network\'s weights')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--check-rows', type=int, default=32, help='0 checks nothing')
    p.add_argument('--check-out', help='where to write what was checked')
    a = p.parse_args()
    a.batch = a.batch or {'score': 256, 'train': 128, 'clip': 200, 'tune': 256}[a.stage]
    a.threads = a.threads or len(os.sched_getaffinity(0))
    a.purified = a.purified or max(a.classes, a.rows * 6 // 100)
    for name in ('width', 'rows', 'batch', 'repeats', 'threads', 'steps', 'epochs'):
        if getattr(a, name) < 1:
            p.error(f'--{name}: expected a whole number of at least 1, got {getattr(a, name)}')
    if a.draws and (a.mode, a.stage) != ('tuned', 'tune'):
        p.error('--draws: only with --mode tuned --stage tune')
    if a.rows < a.batch:
        a.batch = a.rows
    return a


class Bench:
    """What the stages share: data, network, device, clock and the time left."""

    def __init__(self, args: argparse.Namespace) -> None:
        import numpy as np
        import torch

        import padft_reference as ref

        self.args, self.torch, self.ref = args, torch, ref
        self.device = torch.device(args.device)
        self.cuda = self.device.type == 'cuda'
        if self.cuda and not torch.cuda.is_available():
            raise SystemExit(f'--device {args.device}: torch {torch.__version__} sees no CUDA device; use --device cpu')
        torch.set_num_threads(args.threads)
        torch.manual_seed(args.seed)
        if args.data:
            file = ref.read_safetensors(args.data)
            images, labels = file['images'][:args.rows], file['labels'][:args.rows]
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3 or len(labels) != len(images):
                raise SystemExit(f'{args.data}: expected images uint8 N×3×H×W and labels N, got {images.dtype} '
                                 f'{images.shape} and {labels.shape}')
            if len(images) < args.rows:
                raise SystemExit(f'{args.data}: expected at least {args.rows} rows, got {len(images)}')
            self.images, self.labels = images, labels.astype(np.int64)
        else:
            self.images, self.labels = ref.made_images(args.rows, args.classes, args.seed + 1)
        if self.labels.min() < 0 or self.labels.max() >= args.classes:
            raise SystemExit(f'labels: expected integers in [0, {args.classes}), got {self.labels.min()} to '
                             f'{self.labels.max()}; set --classes')
        self.check_odds = None
        self.mean, self.std = ((ref.CIFAR100_MEAN, ref.CIFAR100_STD) if args.classes == 100
                               else (ref.CIFAR10_MEAN, ref.CIFAR10_STD))

    def network(self):
        """A fresh network on the device with the given weights, or the seed's."""
        self.torch.manual_seed(self.args.seed)
        net = self.ref.PreActResNet18(self.args.classes, self.args.width, self.mean, self.std)
        if self.args.state:
            state = {k: self.torch.from_numpy(v) for k, v in self.ref.read_safetensors(self.args.state).items()}
            net.load_state_dict(state)
        return net.to(self.device)

    def check_difference(self, odds) -> float | None:
        """Largest difference of log-odds from the strict float32 check, over its rows."""
        if self.check_odds is None:
            return None
        return float(abs(odds[:len(self.check_odds)] - self.check_odds).max())

    def left(self) -> float:
        return self.args.seconds_limit - (time.perf_counter() - START)

    def sync(self) -> None:
        if self.cuda:
            self.torch.cuda.synchronize(self.device)

    def clock(self, work) -> float:
        """Seconds that `work()` takes, the device's queue emptied before and after."""
        self.sync()
        begin = time.perf_counter()
        work()
        self.sync()
        return time.perf_counter() - begin

    def reset_peak(self) -> None:
        if self.cuda:
            self.torch.cuda.reset_peak_memory_stats(self.device)
        else:
            try:
                with open('/proc/self/clear_refs', 'w') as file:
                    file.write('5')  # sets the peak back to the present
            except OSError:
                pass  # not allowed here: the peak is then the whole process's

    def peak(self) -> int:
        """Peak bytes of tensors (CUDA) or of this process's resident set, DataLoader workers left out (CPU)."""
        if self.cuda:
            return self.torch.cuda.max_memory_allocated(self.device)
        with open('/proc/self/status') as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith('VmHWM'))

    def measure(self, variant: str, prepare) -> dict:
        """Times one variant. `prepare()` gives an object with warm_up(), repeat(), images (a repeat's) and result()."""
        self.reset_peak()
        holder: list = []
        entry: dict = {'variant': variant, 'setup_seconds': self.clock(lambda: holder.append(prepare()))}
        work = holder[0]
        entry['cold_seconds'] = self.clock(work.warm_up)
        repeats: list[float] = []
        while len(repeats) < (1 if getattr(work, 'whole', False) else self.args.repeats):
            repeats.append(self.clock(work.repeat))
            if self.left() <= 0:
                break
        middle = statistics.median(repeats)
        entry.update({'repeats': repeats, 'median': middle, 'min': min(repeats), 'max': max(repeats),
                      'images_per_repeat': work.images, 'images_per_second': work.images / middle,
                      'peak_bytes': self.peak(), **work.result(middle)})
        if self.args.stage == 'tune':
            entry['measured_epochs'] = work.measured * len(repeats)
        return entry


def same_answer(bench: Bench) -> tuple[dict, dict]:
    """The stage in strict float32 on the first rows, free of chance: (summary, tensors)."""
    torch, ref, args = bench.torch, bench.ref, bench.args
    F = torch.nn.functional
    count = min(args.check_rows, args.rows)
    images = torch.from_numpy(bench.images[:count]).to(bench.device)
    labels = torch.from_numpy(bench.labels[:count]).to(bench.device)
    net = bench.network()
    if args.stage == 'train':
        net.train()
        sgd = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        losses = []
        for _ in range(3):
            sgd.zero_grad()
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            sgd.step()
            losses.append(loss.detach())
        tensors = {'loss': torch.stack(losses)}
    else:
        net.eval().requires_grad_(False)
        reference = net(images)
        if args.stage == 'score':
            tensors = {'logits': reference, 'logodds': ref.log_odds(reference, labels)}
        elif args.stage == 'clip':
            z = torch.full((net.channels,), args.z0, device=bench.device, requires_grad=True)
            adam = torch.optim.Adam([z], lr=0.1)
            for _ in range(10):
                adam.zero_grad()
                ref.clip_loss(net(images, z), reference, net.sites, [z], args.lam).backward()
                adam.step()
                with torch.no_grad():
                    z.clamp_(min=0)
            # Bounds that bite: here the error's own gradient is compared, which the penalty hides above.
            near = (0.8 * net.statistics(images)[1].amax(0)).requires_grad_()
            error = F.mse_loss(net(images, near), reference)
            tensors = {'bounds': z.detach(), 'near.mse': error.detach(),
                       'near.gradient': torch.autograd.grad(error, near)[0]}
        else:
            x, flipped = net.features(images), net.features(images.flip(3))
            sgd = torch.optim.SGD(net.linear.requires_grad_(True).parameters(), lr=0.01, momentum=0.9,
                                  weight_decay=5e-4)
            for _ in range(5):
                sgd.zero_grad()
                ref.tune_loss(net.linear(x), net.linear(flipped), labels).backward()
                sgd.step()
            tensors = {'weight': net.linear.weight.detach(), 'bias': net.linear.bias.detach()}
    summary: dict = {'rows': count}
    for name, value in tensors.items():
        v = value.detach().double().flatten()
        if not bool(v.isfinite().all()):
            raise SystemExit(f'check: {name} is not finite')
        summary[name] = {'shape': list(value.shape), 'mean': v.mean().item(), 'norm': v.norm().item(),
                         'first': v[:8].tolist()}
    return summary, tensors


def purified_digest(bench: Bench, odds) -> str:
    """SHA-256 (first 16 digits) of the purified rows, as little-endian uint32 in ascending order."""
    rows = bench.ref.purified_rows(odds, bench.labels, bench.args.classes, bench.args.purified)
    return hashlib.sha256(rows.astype('<u4').tobytes()).hexdigest()[:16]


def device_name(bench: Bench) -> str:
    if bench.cuda:
        return bench.torch.cuda.get_device_name(bench.device)
    try:
        with open('/proc/cpuinfo') as file:
            name = next(line.split(':', 1)[1].strip() for line in file if line.startswith('model name'))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f'{name} ({bench.torch.backends.cpu.get_cpu_capability()})'


def main() -> int:
    args = arguments()
    # Read once, when libtorch's threads start; so before it is imported.
    os.environ['OMP_NUM_THREADS'] = str(args.threads)
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    load_before = os.getloadavg()
    bench = Bench(args)
    if args.mode == 'plain':
        import pytorch_plain as stages
    else:
        import pytorch_tuned as stages
    check, tensors = same_answer(bench) if args.check_rows > 0 else (None, {})
    if 'logodds' in tensors:
        bench.check_odds = tensors['logodds'].cpu().numpy()
    if args.check_out and tensors:
        bench.ref.write_safetensors(args.check_out, tensors, {'torch': bench.torch.__version__, 'stage': args.stage})

    candidates = stages.variants(bench)
    wanted = [name for name in args.variants.split(',') if name]
    unknown = sorted(set(wanted) - {name for name, _ in candidates})
    if unknown:
        raise SystemExit(f'--variants: expected some of {", ".join(n for n, _ in candidates)}, '
                         f'got {", ".join(unknown)}')
    results, skipped = [], []
    for name, prepare in candidates:
        if wanted and name not in wanted:
            continue
        if results and bench.left() <= 0:
            skipped.append({'variant': name, 'why': 'seconds limit'})
            continue
        try:
            results.append(bench.measure(name, prepare))
            print(f'{args.mode} {args.stage} {name}: {results[-1]["images_per_second"]:.1f} images/s', file=sys.stderr)
        except Exception as error:  # a variant that does not run here is reported, not fatal
            traceback.print_exc()
            skipped.append({'variant': name, 'why': f'{type(error).__name__}: {str(error)[:300]}'})
    if not results:
        print(json.dumps({'mode': args.mode, 'stage': args.stage, 'error': 'no variant ran', 'skipped': skipped}))
        return 1
    # The fastest: tune variants differ in what a repeat holds, so there by the whole stage's time.
    best = min(results, key=lambda r: r['seconds'] if 'seconds' in r else r['median'] / r['images_per_repeat'])
    net = bench.network()
    print(json.dumps({
        'mode': args.mode, 'stage': args.stage, **best,
        'width': args.width, 'classes': args.classes, 'rows': args.rows, 'batch': args.batch,
        'parameters': sum(p.numel() for p in net.parameters()), 'data': args.data or 'made', 'seed': args.seed,
        'device': str(bench.device), 'device_name': device_name(bench), 'torch': bench.torch.__version__,
        'threads': bench.torch.get_num_threads(), 'load_before': load_before[0], 'load_after': os.getloadavg()[0],
        'check': check, 'variants': results, 'skipped': skipped,
        'total_seconds': time.perf_counter() - START}, allow_nan=False))
    return 0


if __name__ == '__main__':
    sys.exit(main())
