/** Puts a wall between a controller and its world that can be let down: from then on nothing answers, and nothing is done. */
export function mortal(): { through: <T extends object>(part: T) => T; kill: () => void } {
  let dead = false;
  const never = new Promise<never>(() => {});
  const deafened = (arg: unknown): unknown =>
    typeof arg === 'function' ? (...heard: unknown[]) => (dead ? undefined : arg(...heard)) : arg;
  const through = <T extends object>(part: T): T =>
    new Proxy(part, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member !== 'function') return member;
        return (...args: unknown[]): unknown => {
          if (dead) return never;
          const result: unknown = member.apply(target, args.map(deafened));
          return result instanceof Promise ? result.then((value) => (dead ? never : value)) : result;
        };
      },
    });
  return {
    through,
    kill: () => {
      dead = true;
    },
  };
}
