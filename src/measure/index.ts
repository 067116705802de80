import type { DataPlane } from '../proxy/port.ts';
import { commandGauge } from './command.ts';
import { openFigures } from './figures.ts';
import { httpGauge } from './http.ts';
import type { Measures } from './port.ts';
import { prometheusGauge } from './prometheus.ts';

/** All sources of metrics, on the figures of this data plane. */
export function measures({ dataPlane }: { dataPlane: Pick<DataPlane, 'figures'> }): Measures {
  return {
    async open(source, subject) {
      switch (source.kind) {
        case 'figures':
          return await openFigures(dataPlane, source.figure, subject);
        case 'prometheus':
          return prometheusGauge(source, subject);
        case 'command':
          return commandGauge(source, subject);
        case 'http':
          return httpGauge(source, subject);
      }
    },
  };
}
