/** What is counted of a service over all processes that served it. */
export interface Totals {
  requests: number;
  /** answered with an error of HAProxy's own, the hold's included */
  failures: number;
  /** requests that had to wait in the hold */
  holds: number;
  /** those that the hold refused, by their reason */
  refused: Record<string, number>;
}

export const NOTHING: Totals = { requests: 0, failures: 0, holds: 0, refused: {} };

export function sum(parts: Totals[]): Totals {
  const of = (count: (part: Totals) => number) => parts.reduce((total, part) => total + count(part), 0);
  return {
    requests: of(({ requests }) => requests),
    failures: of(({ failures }) => failures),
    holds: of(({ holds }) => holds),
    refused: sumByName(parts.map(({ refused }) => refused)),
  };
}

export function sumByName(parts: Record<string, number>[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const part of parts)
    for (const [name, times] of Object.entries(part)) total[name] = (total[name] ?? 0) + times;
  return total;
}
