/** A number with its noun: `1 thread`, `2 threads`; `plural` where an s does not make it. */
export function counted(count: number, singular: string, plural = `${singular}s`): string {
  return `${count} ${count === 1 ? singular : plural}`;
}
