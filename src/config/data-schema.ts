import { z } from 'zod';
import type { DataVolume } from '../domain/revision.ts';
import type { Breach } from './rules.ts';
import { choice, httpPath, integer, name, size } from './scalars.ts';
import type { Declaration } from './schema.ts';

const map = { error: 'expected a map of keys' };

const volume = z.strictObject(
  {
    name: name(16).describe('name of the data volume, unique in the service; also its serial number'),
    size: size('16M', '16384G').describe('bytes that the guest sees; may grow, and never shrinks'),
    filesystem: choice('ext4', 'none')
      .prefault('ext4')
      .describe('what it is made with; none: the guest is given an empty disk'),
    snapshot: choice('before-rollout', 'never')
      .prefault('never')
      .describe('whether its state is kept before a rollout touches the instance'),
    keep: integer(1, 30).prefault(5).describe('states kept before rollouts that stay, the newest'),
    freeze: httpPath
      .optional()
      .describe('HTTP path of the guest; a POST there has it write everything and hold still'),
    thaw: httpPath.optional().describe('HTTP path of the guest; a POST there has it go on'),
  },
  map,
);

/** `data`: disks that an instance writes to. */
export const dataSchema = z
  .array(volume, { error: 'expected a list of data volumes' })
  .max(4, { error: 'expected at most 4 data volumes' })
  .prefault([])
  .describe('data volumes: disks that the instance writes to and that outlive it');

export function dataVolumesOf({ data }: Pick<Declaration, 'data'>): DataVolume[] {
  return data.map(({ freeze = null, thaw = null, ...volume }) => ({ ...volume, freeze, thaw }));
}

/** A disk is one instance's at a time, and what follows from that. */
export function dataBreaches({ data, replicas, rollout, supervision }: Declaration): Breach[] {
  if (data.length === 0) return [];
  const found: Breach[] = [];
  const breach = (path: Breach['path'], message: string) => found.push({ path, message });
  if (replicas !== 1)
    breach(
      ['replicas'],
      `replicas is ${replicas} with data volumes, expected 1: one instance at a time can write to a disk`,
    );
  const { strategy } = rollout;
  if (strategy === 'rolling' || strategy === 'blue-green' || strategy === 'canary')
    breach(
      ['rollout', 'strategy'],
      `rollout.strategy is ${strategy} with data volumes, expected auto, volume-swap or recreate: it has two instances run at once, and one can have the disk; requests wait in the load balancer while it is handed over`,
    );
  data.forEach(({ name, freeze, thaw }, index) => {
    const earlier = data.findIndex((other) => other.name === name);
    if (earlier !== index)
      breach(
        ['data', index, 'name'],
        `data[${index}] has the name "${name}" of data[${earlier}], expected another`,
      );
    if ((freeze === undefined) !== (thaw === undefined))
      breach(
        ['data', index, freeze === undefined ? 'thaw' : 'freeze'],
        `data volume "${name}" has only one of freeze and thaw, expected both or neither`,
      );
  });
  for (const [cause, treatment] of Object.entries(supervision.treatments))
    if (treatment === 'freeze')
      breach(
        ['supervision', 'treatments', cause],
        `supervision.treatments.${cause} is freeze with data volumes, expected replace or restart: an instance that is kept would keep the disk`,
      );
  return found;
}
