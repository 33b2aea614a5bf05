import Table from 'cli-table3';
import type { Stage } from '../defenses/pad-ft/gate.js';
import type { PadFtSettings } from '../defenses/pad-ft/index.js';
import { PRESETS } from '../defenses/pad-ft/options.js';
import type { Evaluation } from '../evaluate.js';
import { counted } from '../formats/plural.js';
import { safeText } from '../formats/terminal.js';
import type { StageCost } from '../memory.js';
import {
  type CardCost,
  type CardMethod,
  type CardRow,
  type DetectionRow,
  givenVictim,
  type InspectionRow,
  type MethodRow,
  type RunCard,
} from './card.js';
import type { DetectionFigures } from './judge.js';

/** Rates as percentages with two decimals; a dash where there is no number. */
const HEAD: readonly string[] = ['model', 'ACC %', 'ASR %', 'RA %', 'DER %', 'purity %', 'seconds'];
/** Without a test set and ground truth: what the gate saw. */
const BLIND_HEAD: readonly string[] = ['model', 'held-out ACC %', 'suspects that keep their label %', 'seconds'];

/** One printed line; `returned` marks the model that the gate handed back. */
interface Line {
  readonly cells: readonly string[];
  readonly returned: boolean;
}

/**
 * The card's figures as a text table: the victim, then PAD and PAD-FT of every defence, `◀` at the stage that its gate
 * returned. Purity is that of D_c inside the target label. Where nothing could be judged by ground truth, the stages as
 * the gate saw them, and no table where there are none: a detector repairs nothing. Below it what each defence said, in
 * its own words.
 */
export function formatTable(card: RunCard): string {
  const { head, lines } = tableOf(card);
  const said = `${notes(card).join('\n')}\n`;
  if (lines.length === 0) return said;
  const table = new Table({
    head: [...head],
    colAligns: head.map((_, i) => (i === 0 ? 'left' : 'right')),
    // Colours are the command line's business: a table may go into a file.
    style: { head: [], border: [], compact: true },
  });
  for (const { cells, returned } of lines) {
    const [name = '', ...figures] = cells;
    table.push([returned ? `${name} ◀` : name, ...figures]);
  }
  return `${table.toString()}\n${said}`;
}

/** The same table and notes in Markdown; the returned stages are bold. */
export function formatMarkdown(card: RunCard): string {
  const { head, lines } = tableOf(card);
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const body = lines.map(({ cells, returned }) => {
    const [name = '', ...figures] = cells.map(markdownText);
    return row([returned ? `**${name}**` : name, ...figures]);
  });
  const rule = row(head.map((_, i) => (i === 0 ? '---' : '---:')));
  const list = `${notes(card)
    .map((note) => `- ${markdownText(note)}`)
    .join('\n')}\n`;
  return body.length === 0 ? list : `${[row(head), rule, ...body].join('\n')}\n\n${list}`;
}

function tableOf(card: RunCard): { readonly head: readonly string[]; readonly lines: readonly Line[] } {
  const rows = [...card.rows, ...(card.methods ?? [])];
  const blind = card.victim.evaluation === null && rows.every(({ figures }) => figures === null);
  const blindMethods = (card.methods ?? []).map(({ name, costs }) => ({
    cells: [name, '—', '—', seconds(costs)],
    returned: true,
  }));
  return blind
    ? { head: BLIND_HEAD, lines: [...card.rows.flatMap(blindLines), ...blindMethods] }
    : { head: HEAD, lines: judgedLines(card) };
}

function methodLine({ name, figures, costs }: MethodRow): Line {
  const cells = [name, ...rates(figures?.evaluation ?? null), percent(figures?.der), '—', seconds(costs)];
  return { cells, returned: true };
}

function blindLines(row: CardRow): Line[] {
  const titles = { victim: 'victim', pad: 'PAD', 'pad-ft': 'PAD-FT' } as const;
  return row.views.map(({ stage, heldOutAccuracy, suspectsKept }) => {
    // What was paid for no repair, or for the stage.
    const cost = stage === 'victim' && row.views.length > 1 ? '—' : seconds(costsUpTo(stage, row.costs));
    const cells = [`${nameOf(row)}: ${titles[stage]}`, percent(heldOutAccuracy), percent(suspectsKept), cost];
    return { cells, returned: row.returned === stage };
  });
}

/** What it takes to come to a stage. */
function costsUpTo(stage: Stage, costs: readonly StageCost[]): readonly StageCost[] {
  return stage === 'pad' ? costs.filter((cost) => cost.stage !== 'fine-tune') : costs;
}

function judgedLines(card: RunCard): Line[] {
  const train = card.costs.find(({ stage }) => stage === 'train');
  const victim = [
    card.config.victim === null ? 'victim' : 'victim (given)',
    ...rates(card.victim.evaluation),
    '—',
    '—',
  ];
  const first = { cells: [...victim, train === undefined ? '—' : train.seconds.toFixed(1)], returned: false };
  return [first, ...card.rows.flatMap((row) => rowLines(row)), ...(card.methods ?? []).map(methodLine)];
}

function nameOf({ name, control }: CardRow): string {
  return safeText(control === null ? name : `${name} (D_c: ${control})`);
}

function rowLines(row: CardRow): Line[] {
  const name = nameOf(row);
  if (row.clipping === null) {
    const cells = [
      `${name}: not repaired`,
      ...rates(row.figures?.evaluations.victim ?? null),
      '—',
      purity(row),
      seconds(row.costs),
    ];
    return [{ cells, returned: true }];
  }
  const line = (stage: 'pad' | 'pad-ft', title: string, costs: readonly StageCost[]): Line => {
    const figures = row.figures;
    const der = percent(figures?.der[stage]);
    const cells = [
      `${name}: ${title}`,
      ...rates(figures?.evaluations[stage] ?? null),
      der,
      purity(row),
      seconds(costs),
    ];
    return { cells, returned: row.returned === stage };
  };
  return [line('pad', 'PAD', costsUpTo('pad', row.costs)), line('pad-ft', 'PAD-FT', costsUpTo('pad-ft', row.costs))];
}

function rates(evaluation: Evaluation | null): string[] {
  return [percent(evaluation?.acc), percent(evaluation?.asr), percent(evaluation?.ra)];
}

function purity({ figures }: CardRow): string {
  if (figures === null) return '—';
  const { perLabel, overall } = figures.purity;
  return percent((figures.targetLabel === null ? overall : perLabel[figures.targetLabel])?.purity);
}

function seconds(costs: readonly StageCost[]): string {
  return costs.reduce((sum, cost) => sum + cost.seconds, 0).toFixed(1);
}

function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? '—' : (100 * value).toFixed(2);
}

/** What the table cannot hold: verdicts, the gate's reasons, how good the ranking was, the paper's silences. */
function notes(card: RunCard): string[] {
  const { poison, dataset } = card.config;
  const setting =
    poison === null || poison.counts.poisoned === 0
      ? `${dataset.name}: ${poison === null ? 'no ground truth: nothing to judge the result by' : 'not poisoned'}`
      : `${dataset.name}: ${poison.attack.triggerName} (${poison.attack.name}) on ${poison.counts.poisoned} of ${poison.dataset.rows} training images, ${poison.policy}${poison.target === null ? '' : `, target class ${poison.target}`}`;
  const changes = card.config.defenses.flatMap(({ name, settings }) => {
    const changed = changedSettings(settings, dataset.flip);
    return changed.length === 0 ? [] : [`${name}: preset ${settings.preset} but for ${changed.join(', ')}`];
  });
  const trained =
    card.config.poisoning === 'per-batch' ? ['the victim was trained on clean rows, every batch poisoned anew'] : [];
  return [
    setting,
    ...trained,
    ...arithmetic(card),
    ...card.rows.flatMap(rowNotes),
    ...(card.methods ?? []).map((row) =>
      methodNote(
        row,
        card.config.methods?.find(({ name }) => name === row.name),
      ),
    ),
    ...(card.detections ?? []).flatMap(detectionNotes),
    ...(card.inspections ?? []).map(({ name, text, costs }: InspectionRow) => `${name}: ${text}; ${seconds(costs)} s`),
    ...changes,
  ].map(safeText);
}

/** Nothing on cards of earlier versions, which do not know it. */
function arithmetic({ environment: { device, precision } }: RunCard): string[] {
  if (precision === undefined) return [];
  const { training, scoring = null, fitting = null, evaluation } = precision;
  const parts = [
    training === null ? '' : `trained in ${training}, `,
    scoring === null || scoring === evaluation ? '' : `rows scored in ${scoring}, `,
    fitting === null || fitting === evaluation ? '' : `fitted in ${fitting}, `,
  ];
  return [`on ${device}: ${parts.join('')}evaluated in ${evaluation}`];
}

/**
 * The settings that are not the preset's, the seed aside: `purify.count 500 (3000)`. `flip`: whether the data set's images
 * may be mirrored, which every preset but `paper` goes by; undefined where the card does not say.
 */
function changedSettings({ preset, seed: _, ...settings }: PadFtSettings, flip: boolean | undefined): string[] {
  const compare = (path: string, value: unknown, usual: unknown): string[] => {
    if (typeof value !== 'object' || value === null) return value === usual ? [] : [`${path} ${value} (${usual})`];
    return Object.entries(value).flatMap(([key, field]) =>
      compare(`${path}.${key}`, field, Reflect.get(Object(usual), key)),
    );
  };
  const base = PRESETS[preset];
  const usual = preset === 'paper' || flip === undefined ? base : { ...base, tune: { ...base.tune, flip } };
  return Object.entries(settings).flatMap(([key, value]) => compare(key, value, Reflect.get(usual, key)));
}

function methodNote({ name, said, given }: MethodRow, config: CardMethod | undefined): string {
  const parts = [
    givenVictim({ name, given }) === 'shape' ? 'the victim’s shape' : 'the victim',
    ...(given.training === null ? [] : [counted(given.training, 'training row')]),
    ...(given.clean === null ? [] : [`${counted(given.clean, 'clean image')}${drawn(config)}`]),
  ];
  return `${name}: ${said}; given ${parts.join(', ')}`;
}

/** How clean images were drawn; nothing of those that came from a folder. */
function drawn(config: CardMethod | undefined): string {
  const clean = config?.clean ?? null;
  if (clean === null || !('share' in clean)) return '';
  const { share, seed, added } = clean;
  const more = added.length === 0 ? '' : ` and ${added.length} for classes that it missed`;
  return ` (${Number((100 * share).toPrecision(6))} % of the training set before the poison, as BackdoorBench draws them, seed ${seed}${more})`;
}

function detectionNotes(row: DetectionRow): string[] {
  return [
    `${row.name}: ${row.verdict.text}; ${seconds(row.costs)} s`,
    ...rankingNotes(row, row.figures),
    ...sharedCosts(row),
  ];
}

function rowNotes(row: CardRow): string[] {
  const said = [`${row.name}: ${row.verdict.text}; ${row.reason}`];
  const again = row.verdict.labels.filter(({ rejudged }) => rejudged).map(({ label }) => label);
  if (again.length > 0)
    said.push(
      `${row.name}: suspects of ${again.map((label) => `label ${label}`).join(', ')} found again by the fitted bounds; the score of each row is that of stage 1`,
    );
  if (row.figures === null && row.views.every(({ heldOutAccuracy }) => heldOutAccuracy === null))
    said.push(`${row.name}: no rows were held out, so nothing is known of what the stages cost`);
  if (row.control === 'oracle')
    said.push(`${row.name}: its D_c was drawn from rows known to be clean: a control, not a defence`);
  if (row.control === 'random')
    said.push(`${row.name}: its D_c was drawn at random from correctly classified rows: a control`);
  said.push(...rankingNotes(row, row.figures), ...sharedCosts(row));
  if (row.assumptions.length > 0)
    said.push(`${row.name}: where the paper is silent the preset assumes ${row.assumptions.join('; ')}`);
  return said;
}

/** How well the score ranks the planted rows above the others, and how well the suspects match them. */
function rankingNotes(
  { name, suspects, verdict }: Pick<CardRow, 'name' | 'suspects' | 'verdict'>,
  figures: DetectionFigures | null,
): string[] {
  if (figures === null || figures.auroc.overall === null) return [];
  const { tpr, fpr } = figures.suspects;
  const judges = verdict.labels.some(({ separation }) => separation !== null);
  const inside = figures.auroc.targetLabel;
  const { tprAt } = figures;
  const ranked = tprAt ? `; TPR at an FPR of 1 % ${percent(tprAt.fpr1)} %, of 5 % ${percent(tprAt.fpr5)} %` : '';
  const where =
    inside === null ? `overall ${figures.auroc.overall.toFixed(4)}` : `inside the target label ${inside.toFixed(4)}`;
  // Scores that only rank suspect none, which is no miss.
  const matched = judges ? `${counted(suspects, 'suspect')}, TPR ${percent(tpr)} %, FPR ${percent(fpr)} %; ` : '';
  return [`${name}: ${matched}AUROC of the score ${where}${ranked}`];
}

function sharedCosts({ name, costs }: { readonly name: string; readonly costs: readonly CardCost[] }): string[] {
  return costs.flatMap(({ stage, measuredBy }) =>
    measuredBy === undefined ? [] : [`${name}: ${stage} ran once, with ${measuredBy}; the seconds count it`],
  );
}

/** Text with no meaning of its own to Markdown. */
export function markdownText(text: string): string {
  return text.replace(/[\\`*_{}[\]<>#|~]/g, (character) => `\\${character}`);
}
