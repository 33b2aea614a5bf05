import type { Command } from 'commander';
import {
  INSPECT_DEFAULTS,
  type Inspection,
  inspect,
  inspectSettings,
  MOST_STEPS,
} from '../../defenses/mm-bd/inspect.js';
import type { StageCost } from '../../memory.js';
import { INSPECT_GROUP, type InspectFlags } from '../fields.js';
import { addInputFlags, type ModelFlags, openModel } from '../model-flags.js';
import {
  addComputeFlags,
  addOutputFlags,
  addSeedFlag,
  addSettings,
  type ComputeFlags,
  givenSettings,
} from '../options.js';
import { prepareCompute, type Run, runContext } from '../session.js';
import { textTable } from '../tables.js';

const AFTER = `
Reads no data, clean or poisoned: for each class it searches the image that drives that class farthest above all others
(MM-BD, Wang et al., IEEE S&P 2024). Takes minutes for a thin network on a processor. It needs at least 4 classes, judges
by the single largest margin, and so cannot see a backdoor that has every class for a target. A network that learnt little
has margins of any size and may be accused without cause: ask it of a model that works. The exit code is 0 whatever it
finds; --json has the verdict.

Examples:
  $ pad-ft inspect victim/victim.safetensors
  $ pad-ft inspect model.safetensors --mean 0.49,0.48,0.45 --std 0.25,0.24,0.26 --image-size 32
  $ pad-ft inspect victim/victim.safetensors --json | tail -1 | jq .target`;

type Flags = Omit<ModelFlags, 'model'> & ComputeFlags & Partial<InspectFlags> & { readonly seed: number };

export function define(command: Command, run: Run): void {
  command
    .description('Says whether a model looks backdoored, and for which class, from the model alone.')
    .argument('<model>', 'the model, in safetensors')
    .addHelpText('after', AFTER);
  addSeedFlag(command, 'of the random images');
  addInputFlags(addSettings(command, INSPECT_GROUP, { default: INSPECT_DEFAULTS }));
  addOutputFlags(addComputeFlags(command)).action((path: string, flags: Flags) =>
    run(async (session) => {
      const settings = inspectSettings({ ...givenSettings(INSPECT_GROUP, { ...flags }), seed: flags.seed });
      const compute = await prepareCompute(session, flags);
      using model = await openModel(session, compute, path, flags);
      session.progress.stage(`inspect ${path}`);
      const context = { ...runContext(session, 'classes'), precision: compute.precision };
      const found = await inspect(model, settings, context);
      session.progress.end();
      const told = [`given the model alone; ${costText(found.costs)}`];
      const unsettled = found.labels.some(({ steps }) => steps >= settings.steps);
      const more = 2 * settings.steps;
      if (unsettled && more <= MOST_STEPS)
        told.push(`surer, with margins that settle: the same command with --steps ${more}`);
      session.output.result({ model: path, ...found }, `${chart(found)}\n\n${[found.text, ...told].join('\n')}`);
      return undefined;
    }),
  );
}

function costText(costs: readonly StageCost[]): string {
  return costs
    .map(({ seconds, peakBytes }) => {
      const memory = peakBytes === 0 ? '' : `, at most ${Math.round(peakBytes / 2 ** 20)} MiB`;
      return `${seconds.toFixed(1)} s${memory}`;
    })
    .join('; ');
}

const BAR = 40;

/** A bar a class, on one scale: an outlier is seen before the p-value is read. */
function chart({ labels, target }: Inspection): string {
  const largest = Math.max(...labels.map(({ margin }) => margin), Number.EPSILON);
  const rows = labels.map(({ label, margin }) => [
    String(label),
    margin.toFixed(2),
    '█'.repeat(Math.round((BAR * Math.max(0, margin)) / largest)),
    label === target ? 'target' : '',
  ]);
  return textTable(['label', 'margin', '', ''], rows, [0, 1]);
}
