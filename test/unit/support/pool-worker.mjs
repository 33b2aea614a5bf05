/**
 * A child of `runPool` without a model: it says which device it got and does what its group's name says. `slow` works
 * until it is stopped or four seconds are over, `dies` ends without a word, and any other name is done at once.
 */
const reply = (message) => process.send(message);
const ended = (failures) => reply({ type: 'done', failures });

process.on('disconnect', () => process.exit());
process.on('message', (request) => {
  if (request.type === 'stop') {
    reply({ type: 'error', error: { code: 'ERR_ABORTED', message: 'stopped by the parent process' } });
    return;
  }
  const { device, victim } = request.task;
  reply({ type: 'event', event: { type: 'cell', key: device, name: victim.name } });
  if (victim.name === 'dies') process.exit(7);
  else if (victim.name === 'slow') setTimeout(ended, 4000, []);
  else ended([]);
});
