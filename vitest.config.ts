import { defineConfig } from 'vitest/config';

const project = (name: string, options: { testTimeout: number; parallel: boolean; setup?: string }) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
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
      project('fuzz', { testTimeout: 120_000, parallel: true, setup: 'test/fuzz/setup.ts' }),
      // Emulated guests share two cores: one file at a time keeps each quick and the deadlines honest.
      project('integration', { testTimeout: 120_000, parallel: false }),
      project('e2e', { testTimeout: 300_000, parallel: false }),
    ],
  },
});
