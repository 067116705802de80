import { request } from 'node:http';

/** Requests that each have a connection of their own. */
export interface Churn {
  tally: { answered: number; failures: string[] };
  /** Sends no more, and waits for the answers to those it has sent. */
  stop(): Promise<Churn['tally']>;
}

export function startChurn(port: number, atATime: number): Churn {
  const tally: Churn['tally'] = { answered: 0, failures: [] };
  let stopping = false;
  const loop = async () => {
    while (!stopping) {
      const failure = await once(port);
      if (failure === undefined) tally.answered++;
      else tally.failures.push(failure);
    }
  };
  const loops = Array.from({ length: atATime }, loop);
  return {
    tally,
    async stop() {
      stopping = true;
      await Promise.all(loops);
      return tally;
    },
  };
}

/** What went wrong, if anything did. */
function once(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const req = request(
      { host: '127.0.0.1', port, agent: false, headers: { connection: 'close' } },
      (res) => {
        res.resume();
        res.once('close', () => {
          if (!res.complete) resolve('cut short');
          else resolve(res.statusCode === 200 ? undefined : `status ${res.statusCode}`);
        });
      },
    );
    req.once('error', (error: NodeJS.ErrnoException) => resolve(`${error.code} ${error.message}`));
    req.end();
  });
}
