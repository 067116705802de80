import { writeFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import { initialConfig } from '../../config/template.ts';
import { UnideployError } from '../../errors.ts';
import { run } from '../run.ts';

export function initCommand(program: Command): void {
  const command = program
    .command('init')
    .description('write a first unideploy.yaml into this folder')
    .option('--source <folder>', 'the folder that is deployed as the code volume')
    .option('--kernel <file>', 'the kernel of the guest')
    .option('--initrd <file>', 'the initrd of the guest');
  run(
    command,
    async ({ file, service, renderer }, options: { source?: string; kernel?: string; initrd?: string }) => {
      const name = service ?? serviceName(basename(resolve(file, '..')));
      const text = initialConfig({ service: name, ...options });
      await writeFile(file, text, { flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
        throw new UnideployError(
          'UD_FILE_EXISTS',
          `${file} exists already`,
          'edit it, or name another with --file',
          {
            cause: error,
          },
        );
      });
      renderer.note(`wrote ${file}; look through it, then: unideploy up`);
      return 0;
    },
  );
}

/** The folder's name as a service may be called. */
function serviceName(folder: string): string {
  const name = folder
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .replace(/^[^a-z]+|-+$/g, '')
    .slice(0, 20);
  return name || 'site';
}
