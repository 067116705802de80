/** Between a controller and its world. */
export interface Life {
  through: <T extends object>(part: T) => T;
  /** From now on nothing answers, and nothing is done. */
  kill: () => void;
  /** Until the way on is called nothing answers, and nothing is done; then everything comes at once. */
  stall: () => () => void;
}

/** Puts a wall between a controller and its world that can be let down, for good or for a while. */
export function mortal(): Life {
  let dead = false;
  let stalled: Promise<void> | null = null;
  const never = new Promise<never>(() => {});
  const afterStall = async <T>(then: () => T | Promise<T>): Promise<T> => {
    while (stalled) await stalled;
    return await (dead ? never : then());
  };
  const deafened = (arg: unknown): unknown =>
    typeof arg === 'function'
      ? (...heard: unknown[]) => {
          if (dead) return undefined;
          return stalled ? void afterStall(() => arg(...heard)) : arg(...heard);
        }
      : arg;
  const through = <T extends object>(part: T): T =>
    new Proxy(part, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member !== 'function') return member;
        return (...args: unknown[]): unknown => {
          if (dead) return never;
          const begin = (): unknown => member.apply(target, args.map(deafened));
          const result = begin();
          return result instanceof Promise ? result.then((value) => afterStall(() => value)) : result;
        };
      },
    });
  return {
    through,
    kill: () => {
      dead = true;
    },
    stall: () => {
      let goOn = () => {};
      stalled = new Promise((resolve) => {
        goOn = () => {
          stalled = null;
          resolve();
        };
      });
      return goOn;
    },
  };
}
