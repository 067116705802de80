import pRetry from 'p-retry';
import type { Started } from '../daemon/messages.ts';
import { UnideployError } from '../errors.ts';
import { follow, RETURNS } from './follow.ts';
import type { Move } from './move.ts';
import type { Result } from './render/renderer.ts';
import { named } from './render/words.ts';
import { unchanged } from './results.ts';

/** Asks for a rollout of a service, in its turn where the command may wait for that, and sees it through. */
export async function begin(move: Move, service: string, ask: () => Promise<Started>): Promise<Result> {
  const started = await inTurn(move, service, ask);
  return started.kind === 'unchanged' ? unchanged(started) : await follow(move, started.rollout);
}

async function inTurn(move: Move, service: string, ask: () => Promise<Started>): Promise<Started> {
  const { interruption, patience } = move;
  const until = Date.now() + (patience.wait ?? 0);
  for (;;) {
    interruption.check();
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof UnideployError) || error.code !== 'UD_LOCKED' || Date.now() >= until)
        throw error;
      const over = AbortSignal.any([AbortSignal.timeout(until - Date.now()), interruption.first]);
      await holderEnds(move, service, over);
    }
  }
}

/** Past every entry that there can be: a journal read from here says nothing until it ends. */
const SILENT = Number.MAX_SAFE_INTEGER;

/** Waits until the rollout under way has ended, or it is over with the waiting. */
async function holderEnds({ client, context }: Move, service: string, over: AbortSignal): Promise<void> {
  const { open } = await client.service(service);
  if (!open) return;
  const holder = named(open.id, open.kind, service);
  context.renderer.note(`waiting for ${holder}, started by ${open.performer}, to end`);
  const read = async () => {
    for await (const _ of client.journal(open.id, SILENT, over));
  };
  await pRetry(read, { ...RETURNS, signal: over }).catch((error: unknown) => {
    if (!over.aborted) throw error;
  });
}
