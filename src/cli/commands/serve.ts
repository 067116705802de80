import type { Command } from 'commander';
import { type ApiOptions, addApiOptions, remoteAddressOf } from '../api-options.ts';
import { type MetricsOption, metricsOption } from '../metrics-option.ts';
import { type ProxyOption, proxyOption } from '../proxy-option.ts';
import { run } from '../run.ts';

export function serveCommand(program: Command): void {
  const command = program
    .command('serve')
    .description('run the controller in the foreground; a new one takes over where the last one was')
    .addOption(proxyOption())
    .addOption(metricsOption());
  addApiOptions(command);
  run(command, async ({ paths }, options: ProxyOption & MetricsOption & ApiOptions) => {
    const api = remoteAddressOf(options);
    const choice = { ...options, ...(api && { api }) };
    // Loaded only here: every other command starts twice as fast without the controller's libraries.
    const { serve } = await import('../../daemon/controller.ts');
    await serve(paths, (line) => process.stderr.write(`${new Date().toISOString()} ${line}\n`), choice);
    // Actions under way would go on without the lock: they end here, and the next controller takes up what they left.
    process.exit(0);
  });
}
