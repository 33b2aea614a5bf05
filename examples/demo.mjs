// The demonstration from code: a backdoored network trained, caught and repaired. `npm run setup`, then
// `node examples/demo.mjs [folder]`.
import { formatTable, runExperiment } from 'pad-ft';

const { card, folder } = await runExperiment(
  {
    dataset: 'synthetic',
    datasetOptions: { train: 4000, test: 1000 },
    poison: { attack: 'badnets', rate: 0.1, target: 0 },
    train: { width: 16, epochs: 6, batchSize: 64, learningRate: 0.05, schedule: 'triangular', cropPadding: 0 },
    defenses: [
      { name: 'default', options: { preset: 'default' } },
      { name: 'paper', options: { preset: 'paper' } },
    ],
    folder: process.argv[2] ?? 'pad-ft-demo',
  },
  {
    onEvent(event) {
      if (event.type === 'stage') console.error(event.text);
      if (event.type === 'epoch') console.error(`  epoch ${event.report.epoch}: loss ${event.report.loss.toFixed(3)}`);
    },
  },
);

console.log(formatTable(card));
console.log(`models, suspects and the card are in ${folder}`);
