import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import type { RunCard } from '../../src/report/card.js';
import { buildCli, lastLine, padFt, temporaryFolder } from './support.js';

beforeAll(buildCli);

// One thread: two that share two cores with another test wait for each other more than they compute.
// The one test that runs the method at a size where its figures mean something: what the README promises.
it('the demonstration backdoors a network, catches it and repairs it', async () => {
  using folder = temporaryFolder();
  const out = join(folder.path, 'demo');
  const args = ['demo', '--preset', 'default', '--device', 'cpu', '--threads', '1', '--out', out, '--json'];
  const { code, stdout } = await padFt(args);
  expect(code).toBe(0);
  const { card } = lastLine(stdout) as unknown as { card: RunCard };
  const [row] = card.rows;
  const victim = card.victim.evaluation;
  const figures = row?.figures;
  // A thin network learns the made pictures, and the backdoor with them.
  expect(victim?.acc).toBeGreaterThan(0.9);
  expect(victim?.asr).toBeGreaterThan(0.9);
  expect(row?.verdict.attacked).toEqual([0]);
  expect(figures?.auroc.targetLabel).toBeGreaterThan(0.98);
  const returned = figures?.evaluations[row?.returned ?? 'victim'];
  expect(returned?.asr).toBeLessThan(0.05);
  expect(returned?.acc).toBeGreaterThanOrEqual((victim?.acc ?? 1) - 0.03);
  // Repaired, not merely made to deny the target: marked images get their own labels back.
  expect(returned?.ra).toBeGreaterThan(0.9);
}, 600_000);
