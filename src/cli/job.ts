import type { Client, Following } from '../daemon/client.ts';
import { type Context, withClient } from './context.ts';
import { Interruption } from './interruption.ts';

/**
 * Has the controller do a long job, shows how far it is, and cancels it at the first signal.
 *
 * @param what the job, as its progress names it
 * @throws UD_INTERRUPTED after a signal
 */
export async function followJob<R>(
  context: Context,
  what: string,
  begin: (client: Client, following: Following) => Promise<R>,
): Promise<R> {
  const interruption = new Interruption();
  const { renderer } = context;
  const following: Following = {
    report: (progress) => renderer.progress(what, progress),
    signal: interruption.first,
  };
  try {
    return await withClient(context, (client) => begin(client, following));
  } catch (error) {
    throw interruption.insteadOfJob(error);
  } finally {
    renderer.progress(what, null);
    interruption.close();
  }
}
