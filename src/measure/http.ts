import { z } from 'zod';
import type { Address, Measurement } from '../domain/analysis.ts';
import { inWords } from '../domain/figure-words.ts';
import { type Answer, answered, ask, jsonOf } from './ask.ts';
import { filledIn } from './placeholders.ts';
import type { Gauge, Subject } from './port.ts';

const judgement = z.object({
  outcome: z.enum(['success', 'failure', 'inconclusive']).optional(),
  value: z.number().nullish(),
});

/** Asks a URL how the new revision does: its JSON says it, or else the status of the answer. */
export function httpGauge(asked: Address, subject: Subject): Gauge {
  return {
    measure: async (signal) => read(await ask({ ...asked, url: filledIn(asked.url, subject) }, null, signal)),
  };
}

function read(answer: Answer): Measurement {
  if (answer.status < 200 || (answer.status >= 300 && answer.status < 400) || answer.status >= 500)
    throw new Error(`it ${answered(answer)}`);
  const { outcome, value = null } = judgementIn(answer);
  const verdict = outcome ?? (answer.status < 300 ? 'success' : 'failure');
  const said = value === null ? answered(answer) : `${inWords(null, value)}, answered ${answer.status}`;
  return { value, stable: null, sample: null, verdict, said: outcome ? `${said} (${outcome})` : said };
}

function judgementIn(answer: Answer): z.infer<typeof judgement> {
  const json = jsonOf(answer);
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return {};
  const { success, data } = judgement.safeParse(json);
  if (!success)
    throw new Error(`it answered with an outcome or value that is none: ${answer.text.slice(0, 120)}`);
  return data;
}
