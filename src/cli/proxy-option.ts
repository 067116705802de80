import { Option } from 'commander';
import { PROXY_ENGINES, type ProxyEngine } from '../daemon/proxy-engine.ts';

export interface ProxyOption {
  proxy?: ProxyEngine;
}

/** `--proxy`, for commands that may start a controller. */
export function proxyOption(): Option {
  return new Option('--proxy <engine>', 'what serves the clients; the state folder remembers it').choices(
    PROXY_ENGINES,
  );
}
