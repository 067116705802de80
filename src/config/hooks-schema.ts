import { z } from 'zod';
import type { HookPoint } from '../domain/hooks.ts';
import { command, duration, pattern } from './scalars.ts';

const map = { error: 'expected a map of keys' };
const TEXT = String.raw`(?:\$\{[A-Za-z_]\w*\}|(?!\$\{)[ -~])*`;
// biome-ignore lint/suspicious/noTemplateCurlyInString: that is how a config names a variable.
const NOTE = '${NAME} stands for a variable of the environment';

/** What people type in a URL before the host is a secret, and a config is no place for one. */
const url = pattern(
  new RegExp(String.raw`^(?:https?://(?![^/?#]*@)|\$\{[A-Za-z_]\w*\})${TEXT}$`),
  `expected a URL that starts with http:// or https:// and has no user or password; ${NOTE}`,
);
const headerName = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/, {
  error: 'expected the name of a header',
});
const headerValue = pattern(new RegExp(`^${TEXT}$`), `expected one line of printable characters; ${NOTE}`);

const hook = z.strictObject(
  {
    command: command.optional().describe("shell command, run in this file's folder; not 0 is a failure"),
    url: url.optional().describe('address that is sent a POST with the facts as JSON; not 2xx is a failure'),
    headers: z.record(headerName, headerValue, map).prefault({}).describe(`headers of the POST; ${NOTE}`),
    timeout: duration.prefault('60s').describe('time it may take'),
  },
  map,
);

const oneHook = z.union(
  [command.transform((command): z.input<typeof hook> => ({ command })).pipe(hook), hook],
  {
    error: 'expected a shell command, or a map of command or url',
  },
);

const hookList = z
  .array(oneHook, { error: 'expected a shell command, or a list of hooks' })
  .max(20, { error: 'expected at most 20 hooks' });

const hooks = z.union(
  [command.transform((command): z.input<typeof hookList> => [command]).pipe(hookList), hookList],
  {
    error: 'expected a shell command, or a list of hooks',
  },
);

const at = (when: string) => hooks.prefault([]).describe(`commands and calls ${when}`);

/** `rollout.hooks`: what is run or called at the points of a rollout. */
export const hooksSchema = z
  .strictObject(
    {
      'pre-build': at('before anything is built; a failure ends the command'),
      'pre-rollout': at('before anything is changed; a failure ends the rollout'),
      'pre-cutover': at('before the new revision gets its first request; a failure turns the rollout back'),
      'post-cutover': at('after the last shift of traffic; a failure turns the rollout back'),
      'post-rollout': at('when a rollout has succeeded; a failure changes nothing'),
      'on-rollback': at('when a rollout turns back; a failure changes nothing'),
    } satisfies Record<HookPoint, unknown>,
    map,
  )
  .describe('what is run or called at the points of a rollout');
