import { z } from 'zod';
import { TREATMENTS } from '../domain/supervision.ts';
import { choice, delay, duration, integer, memory, part, pattern } from './scalars.ts';

const map = { error: 'expected a map of keys' };

const treatment = (sickness: string) =>
  choice(...TREATMENTS)
    .prefault('replace')
    .describe(sickness);

const treatments = z
  .strictObject(
    {
      dead: treatment('its QEMU has died'),
      panicked: treatment('its kernel or runtime has gone down'),
      hung: treatment('it does not answer'),
      erring: treatment('it answers with errors'),
      starved: treatment('it runs out of memory'),
      stopped: treatment('it has powered itself off, or somebody has stopped it'),
    },
    map,
  )
  .describe(
    'what is done, by what is wrong. replace: another one first; restart: the old one goes first; freeze: as replace, and the old one is kept, stopped, to be looked at',
  );

const memoryWatch = z.union(
  [
    z.literal(false),
    z.strictObject(
      {
        floor: part.prefault('4%').describe('share of its memory that a guest has to have available'),
        horizon: duration
          .prefault('30s')
          .describe(
            'a guest is switched out when its memory falls so fast that it would be under the floor within this time',
          ),
      },
      map,
    ),
  ],
  { error: 'expected false, or a map of floor and horizon' },
);

const limits = z
  .strictObject(
    {
      repairs: integer(1, 1000)
        .prefault(5)
        .describe('repairs that may begin within the window; then a person has to look'),
      window: duration.prefault('10m').describe('time in which they are counted'),
      backoff: delay
        .prefault('2s')
        .describe('time between a repair and the next one; doubled with each that follows within the window'),
    },
    map,
  )
  .describe('how often a service is repaired');

const TEXT = 'expected a text of 4 to 200 characters as it stands on the console';

/** `supervision`: what is done with instances that go wrong. */
export const supervisionSchema = z
  .strictObject(
    {
      enabled: z
        .boolean({ error: 'expected true or false' })
        .prefault(true)
        .describe('false: sick instances are left to the load balancer'),
      treatments: treatments.prefault({}),
      errors: z
        .union([z.literal(false), part], { error: 'expected false, or a percentage from 1% to 99%' })
        .prefault('50%')
        .describe(
          'share of errors among the answers of an instance to clients that makes it sick, where the others have next to none; false: not looked at',
        ),
      memory: memoryWatch.prefault({}).describe('false: the memory of guests is not looked at'),
      limits: limits.prefault({}),
      dump: z
        .union([z.literal(false), memory], { error: 'expected false, or an amount of memory such as 512M' })
        .prefault(false)
        .describe(
          'the memory of a sick guest is written to a file of the state folder; so much of all such files is kept',
        ),
      console: z
        .array(pattern(/^[ -~]{4,200}$/, TEXT), { error: 'expected a list of texts' })
        .max(50, { error: 'expected at most 50 texts' })
        .prefault([])
        .describe("texts on a guest's console that mean a panic, besides those known of its profile"),
    },
    map,
  )
  .describe('what is done with instances that go wrong');
