import { safeText } from '../formats/terminal.js';
import { markdownText } from '../report/table.js';
import { columnsFor, type TableColumn } from './columns.js';
import type { TableLine } from './figures.js';

/** Columns of words; the others are numbers and stand at the right. */
const WORDS: ReadonlySet<string> = new Set(['data set', 'attack', 'defence', 'accused', 'given', 'verdict', 'note']);

/** A table as a Markdown page: title, table, and below a heading what a reader must know of it, one sentence each. */
export function markdownTable(
  title: string,
  lines: readonly TableLine[],
  heading: string,
  sentences: readonly string[],
): string {
  const columns = columnsFor(lines);
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const plain = (text: string) => markdownText(safeText(text));
  return [
    `# ${plain(title)}`,
    '',
    unitsOf(columns),
    '',
    row(columns.map((column) => plain(column.title))),
    row(columns.map((column) => (WORDS.has(column.title) ? '---' : '---:'))),
    ...lines.map((line) => row(columns.map((column) => plain(column.text(line))))),
    '',
    `## ${plain(heading)}`,
    '',
    ...sentences.map((sentence) => `- ${plain(sentence)}`),
    '',
  ].join('\n');
}

/** The units that the page has in its heads. */
function unitsOf(columns: readonly TableColumn[]): string {
  const has = (title: string) => columns.some((column) => column.title === title);
  const percents = has('TPR at 1 %') ? 'ACC, ASR, RA, DER, purity, TPR and FPR' : 'ACC, ASR, RA, DER and purity';
  return `${percents} in %${has('peak') ? '; peak, the memory of the stage that needed most, in MiB' : ''}.`;
}
