import type { Drained, Figures, RoutingTable, TableStatus } from '../../port.ts';

/** What several workers say of one service, as if it were one. */
export function sumOfStatus(table: RoutingTable, parts: TableStatus[]): TableStatus {
  const refused: Record<string, number> = {};
  for (const part of parts)
    for (const [reason, count] of Object.entries(part.refused))
      refused[reason] = (refused[reason] ?? 0) + count;
  const routes = new Map<string, { inFlight: number; usable: boolean }>();
  for (const { instance, inFlight, usable } of parts.flatMap((part) => part.routes)) {
    const before = routes.get(instance);
    routes.set(instance, {
      inFlight: inFlight + (before?.inFlight ?? 0),
      usable: usable && (before?.usable ?? true),
    });
  }
  const sum = (of: (part: TableStatus) => number) => parts.reduce((total, part) => total + of(part), 0);
  return {
    ...table,
    held: sum(({ held }) => held),
    requests: sum(({ requests }) => requests),
    failures: sum(({ failures }) => failures),
    refused,
    holds: sum(({ holds }) => holds),
    drains: sum(({ drains }) => drains),
    routes: table.routes.map((route) => ({
      ...route,
      ...(routes.get(route.instance) ?? { inFlight: 0, usable: true }),
    })),
  };
}

/** The same of what was counted. */
export function sumOfFigures(parts: Figures[]): Figures[] {
  const sums = new Map<string, Figures>();
  for (const part of parts) {
    const key = `${part.instance} ${part.revision}`;
    const before = sums.get(key);
    sums.set(key, before ? plus(before, part) : part);
  }
  return [...sums.values()];
}

export function sumOfDrains(parts: Drained[]): Drained {
  return parts.reduce(
    (sum, { cut, websockets, streams }) => ({
      cut: sum.cut + cut,
      websockets: sum.websockets + websockets,
      streams: sum.streams + streams,
    }),
    { cut: 0, websockets: 0, streams: 0 },
  );
}

function plus(a: Figures, b: Figures): Figures {
  return {
    ...a,
    status: {
      '1xx': a.status['1xx'] + b.status['1xx'],
      '2xx': a.status['2xx'] + b.status['2xx'],
      '3xx': a.status['3xx'] + b.status['3xx'],
      '4xx': a.status['4xx'] + b.status['4xx'],
      '5xx': a.status['5xx'] + b.status['5xx'],
    },
    broken: a.broken + b.broken,
    latency: {
      sum: a.latency.sum + b.latency.sum,
      buckets: a.latency.buckets.map((count, i) => count + (b.latency.buckets[i] ?? 0)),
    },
    retries: a.retries + b.retries,
    ejections: a.ejections + b.ejections,
  };
}
