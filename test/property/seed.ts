import fc from 'fast-check';

/**
 * The same cases every time: a change is judged by what it changes. Others are looked for on purpose, with
 * UNIDEPLOY_PROPERTY_SEED=random or the number that a failure has told.
 */
const { UNIDEPLOY_PROPERTY_SEED: asked = '1' } = process.env;
if (asked !== 'random') fc.configureGlobal({ seed: Number(asked) });
