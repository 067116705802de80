import { AggregatorRegistry, Registry } from 'prom-client';
import { type Figures, LATENCY_BOUNDS, type TableStatus } from './port.ts';

/** One service as it is and as it was counted. */
export interface ServiceFigures {
  status: TableStatus;
  figures: Figures[];
}

export const CONTENT_TYPE: string = Registry.PROMETHEUS_CONTENT_TYPE;

interface Value {
  metricName?: string;
  labels: Record<string, string | number>;
  value: number;
}

/**
 * All figures in Prometheus' text format. They are counted elsewhere, in plain numbers: prom-client's own counters would
 * cost every request, and its cluster support every worker, so only its form for sums from other processes is used.
 */
export function metricsText(services: ServiceFigures[]): Promise<string> {
  const each = (of: (service: TableStatus) => number) =>
    services.map(({ status }) => ({ labels: { service: status.service }, value: of(status) }));
  const byRoute = (of: (route: TableStatus['routes'][number]) => number) =>
    services.flatMap(({ status: { service, routes } }) =>
      routes.map((route) => ({
        labels: { service, revision: route.revision, instance: route.instance },
        value: of(route),
      })),
    );
  const byInstance = (values: (figures: Figures, labels: Value['labels']) => Value[]) =>
    services.flatMap(({ status: { service }, figures }) =>
      figures.flatMap((each) => values(each, { service, revision: each.revision, instance: each.instance })),
    );
  const counter = (name: string, help: string, values: Value[]) => metric(name, help, 'counter', values);
  const gauge = (name: string, help: string, values: Value[]) => metric(name, help, 'gauge', values);

  return AggregatorRegistry.aggregate([
    [
      counter(
        'unideploy_requests_total',
        'Answers of instances, by the class of their status.',
        byInstance(({ status }, labels) =>
          Object.entries(status).map(([code, value]) => ({ labels: { ...labels, code }, value })),
        ),
      ),
      counter(
        'unideploy_broken_total',
        'Answers of instances that broke, or never began, and were not asked for elsewhere.',
        byInstance(({ broken }, labels) => [{ labels, value: broken }]),
      ),
      metric(
        'unideploy_request_seconds',
        'Time from the head of a request to the end of its answer.',
        'histogram',
        byInstance(histogram),
      ),
      gauge(
        'unideploy_in_flight',
        'Requests that an instance is busy with.',
        byRoute(({ inFlight }) => inFlight),
      ),
      gauge(
        'unideploy_usable',
        'Whether an instance gets requests: 0 while it is taken out.',
        byRoute(({ usable }) => Number(usable)),
      ),
      counter(
        'unideploy_retries_total',
        'Requests that were asked for elsewhere after an instance had failed them.',
        byInstance(({ retries }, labels) => [{ labels, value: retries }]),
      ),
      counter(
        'unideploy_ejections_total',
        'How often an instance was taken out.',
        byInstance(({ ejections }, labels) => [{ labels, value: ejections }]),
      ),
      gauge(
        'unideploy_held',
        'Requests that wait in the hold.',
        each(({ held }) => held),
      ),
      counter(
        'unideploy_holds_total',
        'Requests that had to wait in the hold.',
        each(({ holds }) => holds),
      ),
      counter(
        'unideploy_drains_total',
        'Drains that have ended.',
        each(({ drains }) => drains),
      ),
      counter(
        'unideploy_refused_total',
        "Answers of the data plane's own, by their reason.",
        services.flatMap(({ status: { service, refused } }) =>
          Object.entries(refused).map(([reason, value]) => ({ labels: { service, reason }, value })),
        ),
      ),
    ],
  ]).metrics();
}

function metric(name: string, help: string, type: string, values: Value[]) {
  return { name, help, type, aggregator: 'sum', values };
}

/** The buckets are counted each for itself; Prometheus wants each with all below it. */
function histogram({ latency: { sum, buckets } }: Figures, labels: Value['labels']): Value[] {
  const metricName = 'unideploy_request_seconds';
  let count = 0;
  const below = buckets.map((inBucket, i) => {
    count += inBucket;
    const le = LATENCY_BOUNDS[i] ?? '+Inf';
    return { metricName: `${metricName}_bucket`, labels: { le, ...labels }, value: count };
  });
  return [
    ...below,
    { metricName: `${metricName}_sum`, labels, value: sum },
    { metricName: `${metricName}_count`, labels, value: count },
  ];
}
