import { defineConfig } from 'vitest/config';

const project = (
  name: string,
  options: { testTimeout: number; parallel: boolean; setup?: string; folder?: string },
) => ({
  test: {
    name,
    include: [`test/${options.folder ?? name}/**/*.test.ts`],
    testTimeout: options.testTimeout,
    hookTimeout: options.testTimeout,
    fileParallelism: options.parallel,
    setupFiles: options.setup ?? [],
  },
});

export default defineConfig({
  test: {
    projects: [
      project('unit', { testTimeout: 10_000, parallel: true }),
      project('property', { testTimeout: 300_000, parallel: true, setup: 'test/property/seed.ts' }),
      project('fuzz', { testTimeout: 120_000, parallel: true, setup: 'test/property/seed.ts' }),
      project('faults-model', { testTimeout: 300_000, parallel: true, folder: 'faults/simulated' }),
      // Emulated guests share two cores: one file at a time keeps each quick and the deadlines honest.
      project('integration', { testTimeout: 120_000, parallel: false }),
      project('e2e', { testTimeout: 300_000, parallel: false }),
      project('faults', { testTimeout: 300_000, parallel: false, folder: 'faults/real' }),
    ],
  },
});
