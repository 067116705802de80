import { PassThrough } from 'node:stream';
import type { Result } from '../../../src/cli/render/renderer.ts';
import type { Happening, JournalEntry } from '../../../src/domain/journal.ts';
import type { ErrorReport } from '../../../src/errors.ts';

/** 18:00 on a Tuesday. */
const BEGAN = Date.UTC(2026, 0, 6, 18);

/** The journal of rollout 2 of `site`: an entry a second. */
export function journalOf(...happenings: Happening[]): JournalEntry[] {
  return happenings.map((happening, n) => ({
    ...happening,
    seq: n + 1,
    service: 'site',
    rollout: 2,
    at: BEGAN + n * 1000,
  }));
}

export const STARTED: Happening = {
  event: 'rollout-started',
  kind: 'rollout',
  from: 1,
  to: 2,
  replicas: 4,
  strategy: 'canary',
  performer: 'ana@ci',
};

export const UNHEALTHY: ErrorReport = {
  code: 'UD_GUEST_UNHEALTHY',
  message: 'site-2-1 was not ready within 60 s',
  next: 'read its console: unideploy logs site-2-1',
};

export const TURNED = {
  event: 'rollback-started',
  to: 1,
  reason: UNHEALTHY,
  evidence: {
    instance: 'site-2-1',
    lastAnswer: '503 no volume',
    answers: ['no answer within 500 ms', '503 no volume'],
    console: ['mounting /dev/sda', '::error::not <ours>'],
  },
} satisfies Happening;

export const ROLLED_BACK: Happening = {
  event: 'rollout-finished',
  verdict: 'rolled-back',
  reason: UNHEALTHY,
  ms: 61_500,
  evidence: TURNED.evidence,
  verified: true,
};

/** A stream that keeps what is written to it. */
export function sink(): { stream: PassThrough; text: () => string } {
  const stream = new PassThrough();
  let text = '';
  return { stream, text: () => (text += stream.read()?.toString() ?? '') };
}

/** As the command tells it that has followed it. */
export const RESULT: Result = {
  result: 'rolled-back',
  exitCode: 3,
  service: 'site',
  rollout: 2,
  revision: 1,
  ms: 61_500,
  error: UNHEALTHY,
};
