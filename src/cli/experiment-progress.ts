import type { ExperimentEvent } from '../experiment.js';
import type { Progress } from './progress.js';

/** An experiment's events on the progress of the command that runs it. */
export function showExperiment(progress: Progress): (event: ExperimentEvent) => void {
  return (event) => {
    switch (event.type) {
      case 'stage':
        progress.stage(event.text);
        break;
      case 'progress':
        progress.update(event.stage, event.done, event.total);
        break;
      case 'epoch':
        progress.epoch(event.report);
        break;
      case 'defense':
        progress.update(event.stage, event.done, event.total);
        break;
      case 'row':
        progress.note(`${event.row.name}: ${event.row.verdict.text}`);
        break;
      case 'warning':
        progress.warning(event.message);
        break;
    }
  };
}
