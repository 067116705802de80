import { describe } from 'vitest';
import { exhaustsEach } from '../../support/faults/matrix.ts';

describe('a rollout that somebody aborts, whatever dies or stands still at whatever entry of its journal', () => {
  exhaustsEach('abort');
});
