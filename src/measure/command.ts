import { execa } from 'execa';
import type { Measurement, MetricSource } from '../domain/analysis.ts';
import { inWords } from '../domain/figure-words.ts';
import { environmentFor } from '../environment.ts';
import { answering } from './deadline.ts';
import type { Gauge, Subject } from './port.ts';

type CommandSource = Extract<MetricSource, { kind: 'command' }>;

/** What is kept of what a command prints: enough for its last line. Characters. */
const LONGEST_OUTPUT = 65_536;
const LONGEST_LINE = 200;
/** Between asking it to end and ending it, ms. */
const GRACE = 1000;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const VERDICTS: Partial<Record<number, Measurement['verdict']>> = {
  0: 'success',
  1: 'failure',
  2: 'inconclusive',
};

/** Runs a shell command with a clean environment, and ends it with all that it has started when it is late. */
export function commandGauge({ command, folder, timeout }: CommandSource, subject: Subject): Gauge {
  return {
    measure: (signal) =>
      answering(timeout, signal, async (either) =>
        read(await run(command, folder, environmentOf(subject), either)),
      ),
  };
}

function environmentOf({ service, rollout, revision, stable }: Subject): Record<string, string> {
  return {
    UNIDEPLOY_SERVICE: service,
    UNIDEPLOY_ROLLOUT: `${rollout}`,
    UNIDEPLOY_REVISION: `${revision}`,
    UNIDEPLOY_STABLE: `${stable ?? ''}`,
  };
}

interface Ended {
  /** undefined: it did not run, or was ended by a signal */
  exitCode: number | undefined;
  /** why it has no exit code */
  how: string;
  lastLine: string;
  lastError: string;
}

async function run(
  command: string,
  folder: string,
  env: Record<string, string>,
  signal: AbortSignal,
): Promise<Ended> {
  // A group of its own: a shell that is killed leaves what it has started.
  const options = { detached: true, cleanup: false, stdin: 'ignore', reject: false, buffer: false } as const;
  const child = execa(command, {
    ...{ ...options, shell: true, cwd: folder },
    ...{ env: environmentFor(command, env), extendEnv: false },
  });
  let killed: NodeJS.Timeout | undefined;
  const end = () => {
    signalGroup(child.pid, 'SIGTERM');
    killed = setTimeout(() => signalGroup(child.pid, 'SIGKILL'), GRACE);
  };
  signal.addEventListener('abort', end);
  if (signal.aborted) end();
  try {
    const [stdout, stderr, result] = await Promise.all([tail(child.stdout), tail(child.stderr), child]);
    return {
      exitCode: result.exitCode,
      how:
        result.signal === undefined
          ? `could not be run: ${result.shortMessage}`
          : `was ended by ${result.signal}`,
      lastLine: lastLine(stdout),
      lastError: lastLine(stderr),
    };
  } finally {
    signal.removeEventListener('abort', end);
    clearTimeout(killed);
  }
}

function read({ exitCode, how, lastLine, lastError }: Ended): Measurement {
  const verdict = exitCode === undefined ? undefined : VERDICTS[exitCode];
  const ended = exitCode === undefined ? how : `ended with exit code ${exitCode}`;
  if (!verdict) throw new Error(`the command ${ended}${after(': ', lastError || lastLine)}`);
  const value = NUMBER.test(lastLine) ? Number(lastLine) : null;
  if (value !== null) return { ...NO_MORE, value, verdict, said: `${inWords(null, value)}, ${ended}` };
  return { ...NO_MORE, value, verdict, said: `${ended}${after(': ', lastLine || lastError)}` };
}

const NO_MORE = { stable: null, sample: null };

function after(separator: string, text: string): string {
  return text === '' ? '' : separator + text;
}

async function tail(stream: AsyncIterable<Buffer>): Promise<string> {
  let text = '';
  for await (const chunk of stream) text = (text + chunk.toString('utf8')).slice(-LONGEST_OUTPUT);
  return text;
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.trim().slice(0, LONGEST_LINE) ?? '';
}

function signalGroup(leader: number | undefined, signal: NodeJS.Signals): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
