import { InvalidArgumentError, Option } from 'commander';
import { readAddress } from '../daemon/metrics-address.ts';
import type { ListenAddress } from '../proxy/port.ts';

export interface MetricsOption {
  /** off: nowhere from now on */
  metrics?: ListenAddress | 'off';
}

/** `--metrics`, for commands that may start a controller. */
export function metricsOption(): Option {
  return new Option(
    '--metrics <host:port>',
    'where Prometheus may read the figures, or off; the state folder remembers it',
  ).argParser(read);
}

function read(text: string): ListenAddress | 'off' {
  if (text === 'off') return text;
  const address = readAddress(text);
  if (address !== null && address.port > 0) return address;
  throw new InvalidArgumentError('expected host:port, or off');
}
