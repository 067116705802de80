import type { Fence } from '../domain/fence.ts';

/** The same part, whose every call looks at the fence first: a controller that is late does not even begin. */
export function fencedBy<T extends object>(fence: Fence, part: T): T {
  return new Proxy(part, {
    get(target, name) {
      const member = Reflect.get(target, name) as unknown;
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        fence.check();
        return member.apply(target, args) as unknown;
      };
    },
  });
}
