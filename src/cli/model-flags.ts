import { type Command, Option } from 'commander';
import type { Model } from '../model.js';
import { type LoadModelOptions, loadModel } from '../model-file.js';
import { nonFiniteWarning, overruledWarning } from '../model-fit.js';
import { parseNumbers } from './options.js';
import type { Compute, Session } from './session.js';

/** What `addModelFlags` parses to. */
export interface ModelFlags {
  readonly model: string;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

/** `--model`, and what a state dict saved from Python does not say about itself. */
export function addModelFlags(command: Command, mandatory = true): Command {
  return addInputFlags(
    command.addOption(
      new Option('--model <file>', 'the model: a PreAct-ResNet-18 in safetensors, float32').makeOptionMandatory(
        mandatory,
      ),
    ),
  );
}

/** What a state dict saved from Python does not say about itself. */
export function addInputFlags(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--mean <numbers>',
        'of its input, a channel each, for a state dict from Python: 0.49,0.48,0.45',
      ).argParser(parseNumbers),
    )
    .addOption(new Option('--std <numbers>', 'likewise: 0.25,0.24,0.26').argParser(parseNumbers));
}

/** Loads a model, and warns when its tensors are not all numbers or flags go before what it states. Throws as `loadModel`. */
export async function openModel(
  { progress }: Session,
  { device }: Compute,
  path: string,
  flags: Pick<ModelFlags, 'mean' | 'std'>,
): Promise<Model> {
  const { model, nonFinite, overruled } = await loadModel(path, { device, ...modelOptions(flags) });
  for (const warning of [nonFiniteWarning(path, nonFinite), overruledWarning(path, overruled)])
    if (warning !== null) progress.warning(warning);
  return model;
}

function modelOptions({ mean, std }: Pick<ModelFlags, 'mean' | 'std'>): LoadModelOptions {
  return { ...(mean && { mean }), ...(std && { std }) };
}
