import { type Command, InvalidArgumentError, Option } from 'commander';
import { readAddress } from '../daemon/metrics-address.ts';
import type { RemoteAddress } from '../daemon/remote-api.ts';
import { UnideployError } from '../errors.ts';
import type { ListenAddress } from '../proxy/port.ts';

export interface ApiOptions {
  apiListen?: ListenAddress;
  apiCert?: string;
  apiKey?: string;
}

/** `--api-listen` and its certificate, for the controller. */
export function addApiOptions(command: Command): void {
  command
    .addOption(
      new Option(
        '--api-listen <host:port>',
        'listen to clients elsewhere, over TLS, with tokens of: unideploy token create',
      ).argParser(read),
    )
    .option('--api-cert <file>', 'certificate chain of --api-listen, PEM')
    .option('--api-key <file>', 'its key, PEM');
}

/** @throws UD_USAGE: there is no such thing as a remote API without TLS */
export function remoteAddressOf({ apiListen, apiCert, apiKey }: ApiOptions): RemoteAddress | undefined {
  if (apiListen !== undefined && apiCert !== undefined && apiKey !== undefined)
    return { listen: apiListen, cert: apiCert, key: apiKey };
  if (apiListen === undefined && apiCert === undefined && apiKey === undefined) return undefined;
  throw new UnideployError(
    'UD_USAGE',
    'clients elsewhere are listened to over TLS alone: --api-listen, --api-cert and --api-key belong together',
    'give all three, or none: then only this user on this machine reaches the controller',
  );
}

function read(text: string): ListenAddress {
  const address = readAddress(text);
  if (address !== null) return address;
  throw new InvalidArgumentError('expected host:port');
}
