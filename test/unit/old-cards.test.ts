import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readCard } from '../../src/report/card.js';

const RESULTS = join(import.meta.dirname, '../../results');

const cards = readdirSync(RESULTS, { recursive: true, encoding: 'utf8' }).filter(
  // Beside the cards lie the records of trainings.
  (path) => path.endsWith('.json') && !path.includes('training'),
);

test.each(cards)("an earlier version's card is still read: %s", async (path) => {
  const card = await readCard(join(RESULTS, path));
  expect(card.kind).toBe('pad-ft-card');
});

test('what an older card does not say is what was in effect then, not a default of today', async () => {
  const card = await readCard(join(RESULTS, '2026-11-22-h100/cifar10-w16-badnets10.card.json'));
  const settings = card.config.defenses.map((defense) => defense.settings);
  expect(settings.map(({ preset }) => preset)).toContain('default');
  for (const { purify, accuracyPrice, gatePrice } of settings) {
    expect([purify.pool, purify.limits, accuracyPrice, gatePrice]).toEqual([0, 'observed', 0, 0]);
  }
});

test("an older card's stages were compared by stage 2's price", async () => {
  const card = await readCard(
    join(RESULTS, '2026-11-28-two-cores/fresh/cpu-cifar10-wanet-5pct-s1-default-by-limits.json'),
  );
  expect(card.config.defenses.map(({ settings }) => [settings.accuracyPrice, settings.gatePrice])).toEqual([[5, 5]]);
});
