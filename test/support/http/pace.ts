import { performance } from 'node:perf_hooks';

/** Waits until the next of `rate` requests a second is due; those that could not be sent in time are not made up for. */
export function pacer(rate: number): () => Promise<void> {
  let due = performance.now();
  return async () => {
    const now = performance.now();
    due = Math.max(due + 1000 / rate, now);
    if (due > now) await new Promise((resolve) => setTimeout(resolve, due - now));
  };
}
