import { InvalidArgumentError } from 'commander';
import { delay, duration } from '../config/scalars.ts';
import { UnideployError } from '../errors.ts';

/** What options and arguments say, as commander's parsers. */

/** Something that is counted or numbered. */
export function toNumber(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number > 0) return number;
  throw new InvalidArgumentError('expected a whole number above 0');
}

/** As durations are written in the config: `90s`, `15m`; milliseconds. */
export const toDuration = time(duration);

/** The same, or `0s`. */
export const toDelay = time(delay);

function time(schema: typeof duration | typeof delay): (text: string) => number {
  return (text) => {
    const { success, data, error } = schema.safeParse(text);
    if (success) return data;
    throw new InvalidArgumentError(error.issues[0]?.message ?? 'expected a duration');
  };
}

/** What takes something away for good is done by a word of its own. */
export function notSaid(what: string): UnideployError {
  return new UnideployError('UD_USAGE', `nothing was done: ${what}`, 'say --yes if that is meant');
}
