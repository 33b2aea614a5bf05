/** Mean and sample standard deviation of one figure over seeds. */
export interface MeanOf {
  readonly mean: number;
  /** Divides by n − 1; null for a single value. */
  readonly sd: number | null;
  readonly n: number;
}

/** Over the values that are there; null when none is. */
export function meanOf(values: readonly (number | null | undefined)[]): MeanOf | null {
  const given = values.filter((value) => value !== null && value !== undefined);
  if (given.length === 0) return null;
  const mean = given.reduce((sum, value) => sum + value, 0) / given.length;
  const squares = given.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, sd: given.length === 1 ? null : Math.sqrt(squares / (given.length - 1)), n: given.length };
}

/** A fraction's mean as a percentage: `83.42`, `83.42 ± 0.31` over several seeds, a dash for none. */
export function percentOf(value: MeanOf | null, decimals = 2): string {
  return scaledOf(value, 100, decimals);
}

export function numberOf(value: MeanOf | null, decimals: number): string {
  return scaledOf(value, 1, decimals);
}

/** A mean and its deviation, both times `factor`. */
export function scaledOf(value: MeanOf | null, factor: number, decimals: number): string {
  if (value === null) return '–';
  const text = (number: number) => (factor * number).toFixed(decimals);
  return value.sd === null ? text(value.mean) : `${text(value.mean)} ± ${text(value.sd)}`;
}
