import { defineConfig } from 'vitest/config';

const project = (name: string, options: { testTimeout: number; parallel: boolean }) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: options.testTimeout,
    hookTimeout: options.testTimeout,
    fileParallelism: options.parallel,
  },
});

export default defineConfig({
  test: {
    projects: [
      project('unit', { testTimeout: 10_000, parallel: true }),
      project('property', { testTimeout: 300_000, parallel: true }),
      // Emulated guests share two cores: one file at a time keeps each quick and the deadlines honest.
      project('integration', { testTimeout: 120_000, parallel: false }),
      project('e2e', { testTimeout: 300_000, parallel: false }),
    ],
  },
});
