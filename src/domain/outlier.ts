/** Answers of one instance so far, by the data plane's count. */
export interface Counted {
  /** epoch milliseconds */
  at: number;
  answers: number;
  /** those with a status of 5xx, and those that broke */
  errors: number;
}

export type Answered = Omit<Counted, 'at'>;

/** Answers that a judgement needs, of the one and of the others. */
const NEEDED = 10;
/** How many errors, per cent, the others may have: where all err it is not the instance. */
const OTHERS_AT_MOST = 10;

/** The counts of the last `window` ms and the one before; counters that began anew take the past with them. */
export function countOn(past: readonly Counted[], now: Counted, window: number): readonly Counted[] {
  const last = past.at(-1);
  if (last && now.answers < last.answers) return [now];
  const begin = past.findLastIndex(({ at }) => at <= now.at - window);
  return [...past.slice(Math.max(0, begin)), now];
}

/** What was answered between the first and the last of the counts. */
export function answered(counts: readonly Counted[]): Answered {
  const [first] = counts;
  const last = counts.at(-1);
  if (!first || !last) return { answers: 0, errors: 0 };
  return { answers: last.answers - first.answers, errors: last.errors - first.errors };
}

/**
 * Why an instance is the sick one, in words that follow its name: it answers at least `share` per cent of its requests with
 * errors, and the others, of the same code, next to none. Null: it does not, or there is too little to compare.
 */
export function outlier(own: Answered, others: readonly Answered[], share: number): string | null {
  const rest = others.reduce(
    (sum, each) => ({ answers: sum.answers + each.answers, errors: sum.errors + each.errors }),
    { answers: 0, errors: 0 },
  );
  if (own.answers < NEEDED || rest.answers < NEEDED) return null;
  if (own.errors * 100 < share * own.answers || rest.errors * 100 > OTHERS_AT_MOST * rest.answers)
    return null;
  return `answers with errors: ${of(own)} of the last requests, the others ${of(rest)}`;
}

function of({ errors, answers }: Answered): string {
  return `${errors} of ${answers}`;
}
