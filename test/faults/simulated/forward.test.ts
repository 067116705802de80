import { describe } from 'vitest';
import { exhaustsEach } from '../../support/faults/matrix.ts';

describe('a rollout that goes forward, whatever dies or stands still at whatever entry of its journal', () => {
  exhaustsEach('forward');
});
