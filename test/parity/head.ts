/**
 * The losses and the fine-tuning of a linear classifier, written out in double precision. The core computes them only
 * inside whole steps, so they cross the border in two hops: PyTorch's fixtures check this file, and this file checks
 * the core on what the core can be given.
 */

export type Matrix = readonly (readonly number[])[];

export interface Loss {
  readonly value: number;
  /** ∂value / ∂logits. */
  readonly gradient: readonly number[];
}

export interface Head {
  readonly weight: Matrix;
  readonly bias: readonly number[];
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

export function rowsOf(values: ArrayLike<number>, columns: number): number[][] {
  const flat = Array.from(values);
  return Array.from({ length: flat.length / columns }, (_, row) => flat.slice(row * columns, (row + 1) * columns));
}

export function softmax(logits: readonly number[]): number[] {
  const most = Math.max(...logits);
  const powers = logits.map((z) => Math.exp(z - most));
  return powers.map((power) => power / sum(powers));
}

function logSumExp(logits: readonly number[]): number {
  const most = Math.max(...logits);
  return most + Math.log(sum(logits.map((z) => Math.exp(z - most))));
}

/** α · (−log p_y) + (1 − α) · (−A · (1 − p_y)). */
export function sce(logits: readonly number[], label: number, alpha: number, logZero: number): Loss {
  const p = softmax(logits);
  const own = p[label] as number;
  const value = alpha * (logSumExp(logits) - (logits[label] as number)) + (1 - alpha) * -logZero * (1 - own);
  const gradient = p.map((share, k) => {
    const delta = k === label ? 1 : 0;
    return alpha * (share - delta) + (1 - alpha) * logZero * own * (delta - share);
  });
  return { value, gradient };
}

/** z_y − logsumexp_{k≠y} z_k. */
export function logOdds(logits: readonly number[], label: number): Loss {
  const others = logits.map((z, k) => (k === label ? Number.NEGATIVE_INFINITY : z));
  const shares = softmax(others);
  return {
    value: (logits[label] as number) - logSumExp(others),
    gradient: shares.map((share, k) => (k === label ? 1 : -share)),
  };
}

/** softplus(log-odds + margin). */
export function suspicion(logits: readonly number[], label: number, margin: number): Loss {
  const odds = logOdds(logits, label);
  const x = odds.value + margin;
  const slope = 1 / (1 + Math.exp(-x));
  return { value: Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), gradient: odds.gradient.map((g) => g * slope) };
}

/** ‖σ(a) − σ(b)‖², with the gradients of both. */
export function consistency(a: readonly number[], b: readonly number[]): Loss & { readonly other: readonly number[] } {
  const [p, q] = [softmax(a), softmax(b)];
  const difference = p.map((share, k) => share - (q[k] as number));
  const through = (shares: readonly number[], sign: number) => {
    const mean = sum(shares.map((share, k) => share * (difference[k] as number)));
    return shares.map((share, k) => sign * 2 * share * ((difference[k] as number) - mean));
  };
  return { value: sum(difference.map((d) => d * d)), gradient: through(p, 1), other: through(q, -1) };
}

export interface HeadOptions {
  readonly learningRate: number;
  readonly momentum: number;
  readonly weightDecay: number;
  readonly alpha: number;
  readonly logZero: number;
  readonly beta: number;
  readonly nu: number;
  readonly margin: number;
}

export interface HeadData {
  readonly features: Matrix;
  readonly augmented: Matrix;
  readonly labels: readonly number[];
  readonly suspects: Matrix;
  readonly suspectLabels: readonly number[];
}

/** Epochs of one full batch each: β · mean SCE + (1 − β) · mean consistency + ν · mean suspicion, by SGD with momentum. */
export function tuneHead(
  start: Head,
  data: HeadData,
  options: HeadOptions,
  epochs: number,
): Head & { readonly losses: number[] } {
  let { weight, bias } = start;
  let speed: Matrix = weight.map((row) => row.map(() => 0));
  let biasSpeed: readonly number[] = bias.map(() => 0);
  const losses: number[] = [];
  for (let epoch = 0; epoch < epochs; epoch++) {
    const gradient = weight.map((row) => row.map(() => 0));
    const biasGradient = bias.map(() => 0);
    const classify = (x: readonly number[]) =>
      weight.map((row, k) => sum(row.map((w, j) => w * (x[j] as number))) + (bias[k] as number));
    const add = (x: readonly number[], slope: readonly number[], share: number) => {
      slope.forEach((g, k) => {
        biasGradient[k] = (biasGradient[k] as number) + share * g;
        const row = gradient[k] as number[];
        x.forEach((value, j) => {
          row[j] = (row[j] as number) + share * g * value;
        });
      });
    };
    let loss = 0;
    data.features.forEach((x, i) => {
      const other = data.augmented[i] as readonly number[];
      const [logits, logitsOther] = [classify(x), classify(other)];
      const entropy = sce(logits, data.labels[i] as number, options.alpha, options.logZero);
      const agreement = consistency(logits, logitsOther);
      const share = 1 / data.features.length;
      loss += share * (options.beta * entropy.value + (1 - options.beta) * agreement.value);
      add(x, entropy.gradient, share * options.beta);
      add(x, agreement.gradient, share * (1 - options.beta));
      add(other, agreement.other, share * (1 - options.beta));
    });
    data.suspects.forEach((x, i) => {
      const term = suspicion(classify(x), data.suspectLabels[i] as number, options.margin);
      loss += (options.nu * term.value) / data.suspects.length;
      add(x, term.gradient, options.nu / data.suspects.length);
    });
    const { momentum, weightDecay, learningRate } = options;
    const faster = (v: number, g: number, w: number) => momentum * v + g + weightDecay * w;
    speed = speed.map((row, k) => row.map((v, j) => faster(v, gradient[k]?.[j] as number, weight[k]?.[j] as number)));
    biasSpeed = biasSpeed.map((v, k) => faster(v, biasGradient[k] as number, bias[k] as number));
    weight = weight.map((row, k) => row.map((w, j) => w - learningRate * (speed[k]?.[j] as number)));
    bias = bias.map((b, k) => b - learningRate * (biasSpeed[k] as number));
    losses.push(loss);
  }
  return { weight, bias, losses };
}
