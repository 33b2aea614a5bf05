// A backdoored network trained, caught and repaired, from code: `npm run setup`, then `node examples/demo.mjs [folder]`.
import { formatTable, runExperiment } from 'pad-ft';

const { card, folder } = await runExperiment(
  {
    dataset: 'synthetic',
    datasetOptions: { train: 4000, test: 1000 },
    poison: { attack: 'badnets', rate: 0.1, target: 0 },
    train: {
      width: 16,
      epochs: 6,
      batchSize: 64,
      learningRate: 0.05,
      schedule: 'triangular',
      cropPadding: 0,
      flip: false,
    },
    defenses: [{ name: 'pad-ft', options: { purify: { count: 500 }, holdout: 300 } }],
    folder: process.argv[2] ?? 'pad-ft-example',
  },
  {
    onEvent(event) {
      if (event.type === 'stage') console.error(event.text);
      if (event.type === 'epoch') console.error(`  epoch ${event.report.epoch}: loss ${event.report.loss.toFixed(3)}`);
    },
  },
);

console.log(`${formatTable(card)}models, suspects and the card are in ${folder}`);
