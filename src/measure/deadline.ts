/** Does something that ends when its signal says so. Rejects after `ms` all the same, or at once when `signal` says so. */
export async function answering<T>(
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error(`no answer within ${ms} ms`)), ms);
  const either = AbortSignal.any([signal, late.signal]);
  let forget = () => {};
  const over = new Promise<never>((_, reject) => {
    const end = () => reject(either.reason);
    if (either.aborted) end();
    either.addEventListener('abort', end);
    forget = () => either.removeEventListener('abort', end);
  });
  try {
    return await Promise.race([over, work(either)]);
  } finally {
    clearTimeout(timer);
    forget();
  }
}
