import { HOOK_POINTS } from '../domain/hooks.ts';
import { analysisBreaches } from './analysis-rules.ts';
import { longestAction } from './rollout.ts';
import type { Breach } from './rules.ts';
import type { Declaration } from './schema.ts';

type Rollout = Declaration['rollout'];

/** What no single key of `rollout` can be blamed for. */
export function rolloutBreaches(declaration: Declaration): Breach[] {
  return [
    ...sizeBreaches(declaration.rollout),
    ...strategyBreaches(declaration),
    ...stepBreaches(declaration.rollout),
    ...(declaration.rollout.analysis ? analysisBreaches(declaration.rollout.analysis) : []),
    ...hookBreaches(declaration.rollout),
    ...progressBreaches(declaration),
  ];
}

function sizeBreaches({ maxSurge, maxUnavailable }: Rollout): Breach[] {
  if (Number.parseInt(`${maxSurge}`, 10) + Number.parseInt(`${maxUnavailable}`, 10) > 0) return [];
  const message = 'rollout.maxSurge and rollout.maxUnavailable are both 0, expected one of them above';
  return [{ path: ['rollout', 'maxSurge'], message }];
}

/** What is said for another strategy than the one that is used would be passed over in silence. */
function strategyBreaches({ rollout, volumes }: Declaration): Breach[] {
  const { strategy, maxSurge, promotion, warm } = rollout;
  if (typeof strategy !== 'string') return [];
  const found: Breach[] = [];
  const breach = (key: string, message: string) => found.push({ path: ['rollout', key], message });
  if (strategy === 'volume-swap' && volumes.length === 0)
    breach('strategy', 'rollout.strategy is volume-swap, expected volumes to swap or another strategy');
  if (strategy === 'recreate' && maxSurge !== 1)
    breach(
      'maxSurge',
      `rollout.maxSurge is ${maxSurge} with strategy recreate, expected it left out: the old instances go first`,
    );
  if (promotion !== 0 && strategy !== 'blue-green')
    breach(
      'promotion',
      `rollout.promotion is given with strategy ${strategy}, expected it only with blue-green; a canary waits where a step has pause: manual`,
    );
  if (warm > 0 && strategy !== 'blue-green' && strategy !== 'canary')
    breach(
      'warm',
      `rollout.warm is given with strategy ${strategy}, expected it only with blue-green or canary: no other leaves old instances over`,
    );
  return found;
}

function stepBreaches({ canary: { steps = [] }, analysis: policy }: Rollout): Breach[] {
  return steps.flatMap(({ weight, analysis }, index) => {
    const found: Breach[] = [];
    const breach = (key: string, message: string) =>
      found.push({
        path: ['rollout', 'canary', 'steps', index, key],
        message: `rollout.canary.steps[${index}].${key} ${message}`,
      });
    const before = steps[index - 1]?.weight ?? 0;
    if (weight <= before)
      breach('weight', `is ${weight}%, expected more than the ${before}% of the step before`);
    if (analysis && !policy) breach('analysis', 'is true, expected rollout.analysis to say what is measured');
    return found;
  });
}

function hookBreaches({ hooks }: Rollout): Breach[] {
  return HOOK_POINTS.flatMap((point) =>
    hooks[point].flatMap(({ command, url, headers }, index): Breach[] => {
      const path = ['rollout', 'hooks', point, index];
      const name = `rollout.hooks.${point}[${index}]`;
      if (command === undefined && url === undefined)
        return [{ path, message: `${name} does nothing, expected a command or a url` }];
      if (command === undefined) return [];
      if (url !== undefined)
        return [
          { path: [...path, 'url'], message: `${name} has both command and url, expected one of them` },
        ];
      if (Object.keys(headers).length === 0) return [];
      const message = `${name} has headers with a command, expected them only with url`;
      return [{ path: [...path, 'headers'], message }];
    }),
  );
}

function progressBreaches(declaration: Declaration): Breach[] {
  const { progressDeadline } = declaration.rollout;
  const longest = longestAction(declaration);
  if (progressDeadline === undefined || progressDeadline > longest) return [];
  const message = `rollout.progressDeadline is ${seconds(progressDeadline)}, expected more than the ${seconds(longest)} that one action may take: health.deadline and rollout.minHealthy, or rollout.drain and the longer of stop and verify`;
  return [{ path: ['rollout', 'progressDeadline'], message }];
}

function seconds(ms: number): string {
  return `${ms / 1000}s`;
}
