import { randomInt } from 'node:crypto';

const { UNIDEPLOY_SEED: asked = '1' } = process.env;

/**
 * What every choice by lot begins with: the same cases in every run, unless others are looked for with
 * UNIDEPLOY_SEED=random, or a run is repeated with the number that it told.
 */
export const seed: number = asked === 'random' ? randomInt(2 ** 31) : Number(asked);

console.info(`UNIDEPLOY_SEED=${seed}`);
