import { cp, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { openVisitor, type Visitor } from '../support/browser/visitor.ts';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';
import { eventually } from '../support/qemu/asking.ts';

const CMS = fileURLToPath(new URL('../../examples/php-cms/', import.meta.url));

let place: Workplace;

afterEach(() => takeDown(place));

describe.each([1, 2])('a browser that reloads a page of %i guests while 4.4 becomes 6.2', (replicas) => {
  it('sees no page of both', async () => {
    await serve(replicas, 'embedded', () => publish('4.4'));
    expectWhole(await watched(() => publish('6.2')));
    expect(serving(await place.status())).toEqual(
      Array.from({ length: replicas }, (_, i) => `site-1-${i + 1} 2 verified`),
    );
  });
});

describe('behind HAProxy', () => {
  it('sees no page of both, where assets have their version in their names and stay for one more', async () => {
    await serve(2, 'haproxy', async () => {
      await publish('4.4');
      await nameAssets('4.4');
    });
    const visitor = await watched(async () => {
      await publish('6.2');
      await nameAssets('6.2');
      await cp(join(CMS, '4.4/assets'), join(place.project, 'public/assets-4.4'), { recursive: true });
    });
    expectWhole(visitor);
  });
});

async function serve(replicas: number, proxy: string, publishFirst: () => Promise<void>): Promise<void> {
  place = await openWorkplace('php');
  // Longer than usual: guests, browser and load share a small machine here.
  await place.configure({ replicas, proxy: { sticky: { pages: '5s' } } });
  await publishFirst();
  expect(await place.cli(['up', '--proxy', proxy])).toMatchObject({ exitCode: 0, stderr: '' });
}

async function publish(version: string): Promise<void> {
  const folder = join(place.project, 'public');
  await rm(folder, { recursive: true });
  await cp(join(CMS, version), folder, { recursive: true });
}

async function nameAssets(version: string): Promise<void> {
  const folder = join(place.project, 'public');
  await rename(join(folder, 'assets'), join(folder, `assets-${version}`));
  const text = `<?php\nconst VERSION = '${version}';\nconst ASSETS = '/assets-${version}';\n`;
  await writeFile(join(folder, 'version.php'), text);
}

/** What a visitor saw before, during and after the rollout, with other clients beside it. */
async function watched(publishNext: () => Promise<void>): Promise<Visitor> {
  const { listen } = await place.status();
  const visitor = await openVisitor(`http://${listen?.host}:${listen?.port}/`);
  const sees = async (version: string) => {
    const before = visitor.views.length;
    const of = () => visitor.views.slice(before).filter(({ page }) => page === version).length;
    await eventually(`five views of ${version}`, () => of() >= 5 || visitor.failures.length > 0, 60_000);
  };
  try {
    await sees('4.4');
    await publishNext();
    const [outcome] = await underLoad(place, () => place.cli(['rollout']), '/', 10);
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    await sees('6.2');
  } finally {
    await visitor.leave();
  }
  return visitor;
}

/** No failed request, every page all of one version, first the old ones and then the new, and the session's count goes on. */
function expectWhole({ views, failures }: Visitor): void {
  expect(failures).toEqual([]);
  const versions = views.map(({ page }) => page);
  const mixed = views.filter(
    ({ page, style, script, logo }) => !(style === page && script === page && logo === page),
  );
  expect(mixed).toEqual([]);
  expect(versions).toEqual([...versions].sort());
  expect(views.map(({ visits }) => visits)).toEqual(views.map((_, i) => i + 1));
}
