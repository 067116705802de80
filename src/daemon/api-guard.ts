import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { RolloutPolicy } from '../domain/policy.ts';
import { UnideployError } from '../errors.ts';
import { covers, type Scope, scopeOf, trustedPartsOf } from './api-scopes.ts';
import { holderOf, type Token } from './api-tokens.ts';
import { FailedAttempts } from './failed-attempts.ts';

/** Lets requests pass that carry a token whose scope covers the route; what they do is done in the token's name. */
export function guard(api: FastifyInstance, folder: string, now: () => number): void {
  const failed = new FailedAttempts();
  const holders = new WeakMap<FastifyRequest, Token>();

  // Before anything of the body is read.
  api.addHook('onRequest', async (request, reply) => {
    const address = request.ip;
    const shutFor = failed.shutFor(address, now());
    if (shutFor > 0) {
      reply.header('retry-after', Math.ceil(shutFor / 1000));
      throw new UnideployError(
        'UD_RATE_LIMITED',
        'too many requests came from this address without a token that is one',
        `try again in ${Math.ceil(shutFor / 1000)} s, with a token of: unideploy token create`,
      );
    }
    const [, text = ''] = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '') ?? [];
    const holder = await holderOf(folder, text, now());
    if (holder === null) {
      failed.count(address, now());
      reply.header('www-authenticate', 'Bearer');
      throw new UnideployError(
        'UD_UNAUTHORIZED',
        'the token is missing, wrong, expired or revoked',
        'put one into UNIDEPLOY_TOKEN; on the controller it is made with: unideploy token create',
      );
    }
    holders.set(request, holder);
    const { method, routeOptions } = request;
    if (routeOptions.url !== undefined) expectScope(holder, scopeOf(method, routeOptions.url), 'this');
  });

  api.addHook('preHandler', async (request) => {
    const holder = holders.get(request);
    const { body } = request;
    if (holder === undefined || !isObject(body)) return;
    if ('performer' in body) body.performer = holder.name;
    const parts = isObject(body.policy) ? partsIn(body.policy) : [];
    if (parts.length > 0) expectScope(holder, 'admin', `${parts.join(' and ')} of the controller's user`);
  });
}

function expectScope({ name, scope }: Token, needed: Scope, what: string): void {
  if (covers(scope, needed)) return;
  throw new UnideployError(
    'UD_FORBIDDEN',
    `${what} needs a token of scope ${needed}; ${name} has ${scope}`,
    `use another token; on the controller: unideploy token create --scope ${needed} --name NAME`,
  );
}

/** A policy that is none is refused where it is read. */
function partsIn(policy: object): string[] {
  try {
    return trustedPartsOf(policy as RolloutPolicy);
  } catch {
    return [];
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
