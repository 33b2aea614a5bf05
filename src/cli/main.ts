#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { isAbort } from '../errors.js';
import { VERSION } from '../version.js';
import { EXIT, type Failure, toFailure } from './exit-code.js';
import { Interruption } from './interruption.js';
import { Output, outputMode } from './output.js';
import { createProgress } from './progress.js';
import type { Run } from './session.js';

/** A command's module: declares its flags, help and action on `command`. */
interface CommandModule {
  define(command: Command, run: Run): void;
}

interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

/** Every command. Modules are loaded only when named: `--help` and `--version` load none. */
const COMMANDS: readonly CommandEntry[] = [
  { name: 'demo', summary: 'poison, train, defend and compare, in one run', load: () => import('./commands/demo.js') },
  { name: 'doctor', summary: 'say what this machine lacks and what to do', load: () => import('./commands/doctor.js') },
  { name: 'dataset', summary: 'load, verify and describe a data set', load: () => import('./commands/dataset.js') },
  { name: 'poison', summary: 'plant a backdoor into a training set', load: () => import('./commands/poison.js') },
  { name: 'train', summary: 'train a victim on a training set', load: () => import('./commands/train.js') },
  { name: 'defend', summary: 'find the backdoor and repair the model', load: () => import('./commands/defend.js') },
  {
    name: 'inspect',
    summary: 'ask a model alone, without data, whether it looks backdoored',
    load: () => import('./commands/inspect.js'),
  },
  {
    name: 'evaluate',
    summary: 'measure a model, or check a finished run',
    load: () => import('./commands/evaluate.js'),
  },
  {
    name: 'reproduce',
    summary: "make the paper's tables, our figures beside its own",
    load: () => import('./commands/reproduce.js'),
  },
  {
    name: 'list',
    summary: 'list data sets, attacks, models, defenses, methods, detectors, presets',
    load: () => import('./commands/list.js'),
  },
];

const INTRODUCTION = `
Finds a backdoor in an image classifier's training set and repairs the model: purify, clip, fine-tune.

Start here:
  $ pad-ft doctor                 does this machine have what it takes?
  $ pad-ft demo                   the whole method on made pictures, in minutes
  $ pad-ft help defend            every setting of the defence

Step by step:
  $ pad-ft poison --dataset cifar10 --download --attack badnets --out set
  $ pad-ft train --data set --out victim
  $ pad-ft defend --model victim/victim.safetensors --data set --out repaired

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 something is missing on this machine, 130 stopped by Ctrl-C.`;

async function makeProgram(argv: readonly string[], run: Run): Promise<Command> {
  const program = new Command('pad-ft')
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help for a command')
    .showHelpAfterError('Run the command with --help for its options and examples.')
    .configureHelp({ helpWidth: process.stdout.columns ?? 100, minWidthToWrap: 30 })
    .exitOverride()
    .addHelpText('after', INTRODUCTION);
  for (const { name, summary, load } of COMMANDS) {
    const command = program.command(name).description(summary).summary(summary);
    if (argv.includes(name)) (await load()).define(command, run);
  }
  return program;
}

async function main(argv: readonly string[]): Promise<number> {
  const output = new Output(outputMode(argv, process.env, process.stderr.isTTY));
  const interruption = new Interruption(output);
  interruption.listen();
  let exitCode: number = EXIT.ok;
  const run: Run = async (action) => {
    const progress = createProgress(output);
    output.start(VERSION, argv);
    try {
      exitCode = (await action({ output, progress, signal: interruption.signal })) ?? EXIT.ok;
    } finally {
      progress.end();
    }
  };
  let isFlag = (_flag: string) => false;
  try {
    const program = await makeProgram(argv, run);
    // `help` of a command that is not there would print all help and not say so.
    const [first, topic] = argv;
    const unknown = first === 'help' && topic !== undefined && !COMMANDS.some(({ name }) => name === topic);
    const command = program.commands.find((candidate) => candidate.name() === argv[0]);
    isFlag = (flag) => command?.options.some(({ long }) => long === flag) === true;
    await program.parseAsync(unknown ? argv.slice(1) : argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    // Help and the version end by an exception too.
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
    // Loaded when it is needed: help and a broken installation must not depend on the whole library.
    const failure = toFailure(error);
    const said = failure.code === 'ERR_OPTION' ? (await import('./spelling.js')).inFlags(failure, isFlag) : failure;
    return fail(said, error, output, interruption);
  }
}

function fail(failure: Failure, error: unknown, output: Output, interruption: Interruption): number {
  // Commander has written its own message, with the nearest known word.
  output.fail(failure, error instanceof CommanderError);
  return isAbort(error) ? (interruption.exitCode ?? failure.exitCode) : failure.exitCode;
}

process.exitCode = await main(process.argv.slice(2));
