import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../formats/atomic-file.js';
import { openFolder } from '../formats/folder.js';
import type { TableCells } from './cells.js';
import { groupCells } from './cells.js';
import { cellsCsv } from './csv.js';
import { differencesHeading, differencesOf } from './differences.js';
import { type GridStates, tableLines } from './figures.js';
import type { Grid } from './grid.js';
import { htmlPage } from './html.js';
import { markdownTable } from './markdown.js';

/**
 * Writes what a reader opens: `NAME.md` for each table, its `NAME.csv` and `NAME.html` or, of several tables together,
 * `cells.csv` and `index.html`, so that none replaces another's, and a copy of each card under its readable name. A
 * file that already says the same is left alone. Gives the paths of the tables and figures.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function writeReport(
  out: string,
  grid: Grid,
  tables: readonly TableCells[],
  states: GridStates,
): Promise<readonly string[]> {
  const groups = groupCells(tables);
  const files: string[] = [];
  const put = async (name: string, content: string) => {
    files.push(join(out, name));
    await writeIfChanged(join(out, name), content);
  };
  const cells = groups.flatMap(({ defenses }) => defenses);
  const names = tables.map(({ table }) => table.name);
  const [single] = names;
  const [csv, page] =
    names.length === 1 && single !== undefined ? [`${single}.csv`, `${single}.html`] : ['cells.csv', 'index.html'];
  await openFolder(out, [...names.map((name) => `${name}.md`), csv, page]);
  await openFolder(
    join(out, 'cards'),
    cells.map(({ name }) => `${name}.json`),
  );
  for (const { name, key } of cells) {
    const found = states.defenses.get(key);
    if (found?.state !== 'done') continue;
    await writeIfChanged(join(out, 'cards', `${name}.json`), `${JSON.stringify(found.card, null, 2)}\n`);
  }
  for (const table of tables) {
    const { name, title } = table.table;
    const lines = tableLines(table, states);
    const below = [differencesHeading(table.table), differencesOf(grid, table.table, lines)] as const;
    await put(`${name}.md`, markdownTable(title, lines, ...below));
  }
  await put(csv, cellsCsv(groups, states));
  await put(page, htmlPage(grid, tables, groups, states));
  return files;
}

async function writeIfChanged(path: string, content: string): Promise<void> {
  const there = await readFile(path, 'utf8').catch(() => null);
  if (there !== content) await writeFileAtomic(path, content);
}
