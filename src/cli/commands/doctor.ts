import type { Command } from 'commander';
import { EXIT } from '../exit-code.js';
import { addOutputFlags } from '../options.js';
import type { Run } from '../session.js';

export function define(command: Command, run: Run): void {
  command
    .description(
      'Looks at Node, the build tools, every libtorch, the addon and every device, tries each device in a process of its ' +
        'own, and says what is missing and what to do. Exits with 3 when something keeps the tool from running.',
    )
    .addHelpText('after', '\nExamples:\n  $ pad-ft doctor\n  $ pad-ft doctor --json | tail -1 | jq .problems');
  addOutputFlags(command).action(() =>
    run(async ({ output, progress }) => {
      const { diagnose, formatDoctor } = await import('../../doctor.js');
      progress.note('looking around; takes a few seconds');
      const report = await diagnose();
      output.result(report, formatDoctor(report));
      return report.ok ? EXIT.ok : EXIT.environment;
    }),
  );
}
