import { z } from 'zod';
import type { Address, Measurement } from '../domain/analysis.ts';
import { inWords } from '../domain/figure-words.ts';
import { type Answer, answered, ask, jsonOf } from './ask.ts';
import { filledIn } from './placeholders.ts';
import type { Gauge, Subject } from './port.ts';

const point = z.tuple([z.number(), z.string()]);

/** https://prometheus.io/docs/prometheus/latest/querying/api/#expression-query-result-formats */
const reply = z.discriminatedUnion('status', [
  z.object({
    status: z.literal('success'),
    data: z.discriminatedUnion('resultType', [
      z.object({ resultType: z.literal('vector'), result: z.array(z.object({ value: point.optional() })) }),
      z.object({ resultType: z.literal('scalar'), result: point }),
      z.object({ resultType: z.enum(['matrix', 'string']) }),
    ]),
  }),
  z.object({ status: z.literal('error'), errorType: z.string(), error: z.string() }),
]);

type Query = Address & { query: string };

/** An instant query; one that asks about `{{revision}}` alone is made of the stable revision too. */
export function prometheusGauge(asked: Query, subject: Subject): Gauge {
  return {
    async measure(signal): Promise<Measurement> {
      const [value, stable] = await Promise.all([
        evaluate(asked, subject, signal),
        isComparable(asked.query) && subject.stable !== null
          ? evaluate(asked, { ...subject, revision: subject.stable }, signal)
          : null,
      ]);
      const said = stable === null ? words(value) : `${words(value)}, stable ${words(stable)}`;
      return { value, stable, sample: null, verdict: null, said };
    },
  };
}

function isComparable(query: string): boolean {
  return query.includes('{{revision}}') && !query.includes('{{stable}}');
}

async function evaluate(asked: Query, subject: Subject, signal: AbortSignal): Promise<number | null> {
  const url = `${asked.url.replace(/\/+$/, '')}/api/v1/query`;
  return valueIn(await ask({ ...asked, url }, { query: filledIn(asked.query, subject) }, signal));
}

function valueIn(answer: Answer): number | null {
  const { success, data: parsed } = reply.safeParse(jsonOf(answer));
  if (!success) throw new Error(`Prometheus ${answered(answer)}`);
  if (parsed.status === 'error') throw new Error(`Prometheus: ${parsed.errorType}: ${parsed.error}`);
  const { data } = parsed;
  if (data.resultType === 'scalar') return numberIn(data.result[1]);
  if (data.resultType !== 'vector')
    throw new Error(`the query gives a ${data.resultType}, expected a vector of one or a scalar`);
  const [only, second] = data.result;
  if (second) throw new Error(`the query gives ${data.result.length} values, expected one`);
  if (!only) return null;
  if (!only.value) throw new Error('the query gives a histogram, expected a number');
  return numberIn(only.value[1]);
}

/** Null for NaN and the infinities, which a division by nothing gives. */
function numberIn(text: string): number | null {
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

function words(value: number | null): string {
  return value === null ? 'no data' : inWords(null, value);
}
