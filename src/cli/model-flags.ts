import { type Command, Option } from 'commander';
import type { LoadModelOptions } from '../model-file.js';
import { parseNumbers } from './options.js';

/** What `addModelFlags` parses to. */
export interface ModelFlags {
  readonly model: string;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

/** `--model`, and what a state dict saved from Python does not say about itself. */
export function addModelFlags(command: Command, mandatory = true): Command {
  return command
    .addOption(new Option('--model <file>', 'the model, in safetensors').makeOptionMandatory(mandatory))
    .addOption(
      new Option(
        '--mean <numbers>',
        'of its input, a channel each, for a state dict from Python: 0.49,0.48,0.45',
      ).argParser(parseNumbers),
    )
    .addOption(new Option('--std <numbers>', 'likewise: 0.25,0.24,0.26').argParser(parseNumbers));
}

/** The flags as `loadModel` takes them. */
export function modelOptions({ mean, std }: Pick<ModelFlags, 'mean' | 'std'>): LoadModelOptions {
  return { ...(mean && { mean }), ...(std && { std }) };
}
