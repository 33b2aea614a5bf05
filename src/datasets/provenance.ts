import { isDeepStrictEqual } from 'node:util';

type Provenance = Readonly<Record<string, unknown>>;

/**
 * True when two provenances are of the same rows. Folder or archive is the same data: where files are named, each that
 * both name must have one SHA-256, whatever order they were read in. An archive holds every member, a folder's record
 * only those that the rows came from, so the shorter list decides; the archive's own line says how they were packed.
 */
export function sameProvenance(a: Provenance, b: Provenance): boolean {
  const [{ files: filesA, ...restA }, { files: filesB, ...restB }] = [identity(a), identity(b)];
  return isDeepStrictEqual(restA, restB) && sameFiles(membersOf(filesA), membersOf(filesB));
}

/** Without what does not change the data: where it lay, and whether its pins were checked. */
function identity({ source: _, verified: __, ...rest }: Provenance): Provenance {
  return rest;
}

/** Name → SHA-256 of what a reader took rows from; null where the provenance names no files. */
function membersOf(files: unknown): ReadonlyMap<string, unknown> | null {
  if (!Array.isArray(files)) return null;
  const records = files.map((value: unknown): Provenance => Object(value));
  return new Map(
    records.map(({ file, sha256 }) => [String(file), sha256] as const).filter(([file]) => !isArchive(file)),
  );
}

function isArchive(file: string): boolean {
  return file.endsWith('.tar.gz');
}

function sameFiles(a: ReadonlyMap<string, unknown> | null, b: ReadonlyMap<string, unknown> | null): boolean {
  if (a === null || b === null) return a === b;
  const [fewer, more] = a.size <= b.size ? [a, b] : [b, a];
  const all = [...fewer].every(([file, sha256]) => more.get(file) === sha256);
  return all && (fewer.size > 0 || more.size === 0);
}
