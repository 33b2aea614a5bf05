// The demonstration from code: a backdoored network trained, caught and repaired. `npm run setup`, then
// `node examples/demo.mjs [folder] [settings in JSON]`; settings are laid over the demonstration's own (`DEMO`).
import { formatTable, PadFtError, runDemo } from 'pad-ft';

const [folder = 'pad-ft-example', settings = '{}'] = process.argv.slice(2);

try {
  const { card } = await runDemo(
    { ...JSON.parse(settings), folder },
    {
      onEvent(event) {
        if (event.type === 'stage') console.error(event.text);
        if (event.type === 'warning') console.error(`warning: ${event.message}`);
        if (event.type === 'epoch')
          console.error(`  epoch ${event.report.epoch}: loss ${event.report.loss.toFixed(3)}`);
      },
    },
  );
  console.log(`${formatTable(card)}models, suspects and the card are in ${folder}`);
} catch (error) {
  if (!(error instanceof PadFtError)) throw error;
  // What is wrong and what to do stand in the message; `code` is there to act on.
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 1;
}
