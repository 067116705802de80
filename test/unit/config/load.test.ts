import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig, parseConfig } from '../../../src/config/load.ts';
import { place } from '../../../src/config/positions.ts';
import { ConfigError, problemLine } from '../../../src/config/problems.ts';

const SIMPLE = `service: site
replicas: 4
listen: 8080
guest:
  profile: linux
  kernel: ../guest/vmlinux
  initrd: ../guest/initrd.img
volumes:
  - source: ./public
`;

const parse = (text: string) => parseConfig('app/unideploy.yaml', text);

function problems(text: string): string[] {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(problemLine);
    throw error;
  }
  return [];
}

describe('a simple config', () => {
  it('needs at most ten lines and gets the defaults of its profile', () => {
    const config = parse(SIMPLE);
    expect(SIMPLE.trim().split('\n').length).toBeLessThanOrEqual(10);
    expect(config).toMatchObject({
      service: 'site',
      replicas: 4,
      listen: { host: '127.0.0.1', port: 8080 },
      machine: { profile: 'linux', type: 'q35', accel: 'auto', cpu: null, memory: 128, cpus: 1 },
      checks: { port: 80, healthPath: '/health', revisionPath: '/.unideploy/revision' },
      build: null,
    });
    expect(config.machine).toMatchObject({ volumes: 'virtio-scsi', swap: 'overlap' });
    expect(config.machine.cmdline).toMatch(/^console=ttyS0 .*panic=-1/);
    expect(config.health).toEqual({
      interval: 1000,
      timeout: 1000,
      healthy: 1,
      unhealthy: 3,
      deadline: 60_000,
    });
  });

  it('has paths relative to its own folder, and says where each was written', () => {
    const { boot, volumes, folder } = parse(SIMPLE);
    expect(folder).toBe(resolve('app'));
    expect(boot).toMatchObject({
      kernel: {
        path: resolve('guest/vmlinux'),
        written: '../guest/vmlinux',
        where: 'app/unideploy.yaml:6:11',
      },
    });
    expect(volumes[0]).toMatchObject({
      name: 'code',
      format: 'squashfs',
      probe: '/.unideploy/revision',
      content: { kind: 'source', folder: { path: resolve('app/public'), where: 'app/unideploy.yaml:9:13' } },
    });
  });

  it('tells where a key stands, or the key above one that was left out', () => {
    const config = parse(SIMPLE);
    expect(place(config.position(['guest', 'profile']))).toBe('app/unideploy.yaml:5:3');
    expect(place(config.position(['guest', 'memory']))).toBe('app/unideploy.yaml:4:1');
    expect(place(config.position(['rollout', 'drain']))).toBe('app/unideploy.yaml:1:1');
  });
});

describe('values', () => {
  it('takes durations with units, memory in M and G, percentages, and hosts', () => {
    const config =
      parse(`${SIMPLE.replace('8080', '"[::1]:0"').replace('profile: linux', 'profile: linux\n  memory: 1G')}
health: {interval: 500ms, timeout: 1.5s, deadline: 15m}
rollout: {maxSurge: 25%, maxUnavailable: 1, drain: 1h}
revision: false
`);
    expect(config.listen).toEqual({ host: '::1', port: 0 });
    expect(config.machine.memory).toBe(1024);
    expect(config.health).toMatchObject({ interval: 500, timeout: 1500, deadline: 900_000 });
    expect(config.rollout).toMatchObject({ maxSurge: '25%', maxUnavailable: 1, drain: 3_600_000 });
    expect(config.checks.revisionPath).toBeNull();
  });

  it('puts the command line of the user after the one of the profile', () => {
    const { machine } = parse(SIMPLE.replace('profile: linux', 'profile: linux\n  cmdline: ud.port=81'));
    expect(machine.cmdline).toMatch(/quiet.* ud\.port=81$/);
  });

  it('takes a disk as a path or as a map, and knows qcow2 by its name', () => {
    const nanos = (disk: string) => parse(`service: a\nlisten: 1\nguest: {profile: nanos, disk: ${disk}}\n`);
    expect(nanos('a.qcow2').boot).toMatchObject({ kind: 'disk', format: 'qcow2' });
    expect(nanos('a.img').boot).toMatchObject({ kind: 'disk', format: 'raw' });
    expect(nanos('{file: a, format: qcow2}').boot).toMatchObject({ format: 'qcow2', disk: { written: 'a' } });
    expect(nanos('a.img').machine).toMatchObject({ memory: 256, swap: 'replace', cmdline: '' });
  });

  it('follows aliases, and points into them', () => {
    const text =
      'service: a\nlisten: 1\nguest: {profile: linux, kernel: k}\nhealth: {interval: &t 2s, timeout: *t}\n';
    expect(parse(text).health).toMatchObject({ interval: 2000, timeout: 2000 });
  });
});

describe('a wrong config', () => {
  it('is reported whole, each problem with its place, what was found and what was expected', () => {
    expect(
      problems(`service: Site
replicas: four
listen: host:99999
guest:
  profile: linux
  disk: {file: a, format: vmdk}
  memory: 128
health:
  interval: 5
volumes:
  - probe: x
`),
    ).toEqual([
      'app/unideploy.yaml:1:10: service is "Site", expected a name of up to 20 characters: a lower-case letter, then lower-case letters, digits or hyphens',
      'app/unideploy.yaml:2:11: replicas is "four", expected a whole number from 1 to 500',
      'app/unideploy.yaml:3:9: listen is "host:99999", expected a port from 0 to 65535 (0: the system chooses) or "host:port"',
      'app/unideploy.yaml:6:27: guest.disk.format is "vmdk", expected raw or qcow2',
      'app/unideploy.yaml:7:11: guest.memory is 128, expected an amount of memory of at least 16M such as 128M or 1G',
      'app/unideploy.yaml:9:13: health.interval is 5, expected a duration with its unit such as 500ms, 30s or 15m',
      'app/unideploy.yaml:11:12: volumes[0].probe is "x", expected an HTTP path that starts with /',
    ]);
  });

  it('has the first problem and the number of the others as its message', () => {
    const text = SIMPLE.replace('replicas: 4', 'replicas: 0')
      .replace('8080', '-1')
      .replace('linux\n', 'bsd\n');
    expect(() => parse(text)).toThrowError(
      'app/unideploy.yaml:2:11: replicas is 0, expected a whole number from 1 to 500 (and 2 more)',
    );
    expect(() => parse(text)).toThrowError(expect.objectContaining({ code: 'UD_CONFIG_INVALID' }));
  });

  it.each([
    ['replcas: 1', '10:1: unknown key "replcas", did you mean "replicas"?'],
    ['rollout: {maxsurge: 1}', '10:11: unknown key "maxsurge", did you mean "maxSurge"?'],
    ['kernel: x', '10:1: unknown key "kernel" here, did you mean "guest.kernel"?'],
    ['revision: {pth: /x}', '10:12: unknown key "pth", did you mean "path"?'],
    ['image: {build: x, zzzzzz: 1}', '10:19: unknown key "zzzzzz", expected one of build, env'],
    ['"__proto__": {}', '10:1: unknown key "__proto__", expected one of service, replicas,'],
    ['<<: {replicas: 1}', '10:1: unknown key "<<", expected one of'],
  ])('refuses the unknown key in %s', (line, expected) => {
    expect(problems(`${SIMPLE}${line}\n`)[0]).toContain(expected);
  });

  it.each([
    ['service: a\nservice: b\n', '2:1: key "service" is given twice, expected once'],
    ['service: [a\n', '2:1: not valid YAML'],
    ['service: a\n---\nservice: b\n', 'not valid YAML'],
    ['service: !secret a\n', '1:10: not valid YAML'],
    ['', '1:1: the file is empty, expected a map of keys'],
    ['- a\n', '1:1: the file is a list, expected a map of keys'],
    ['service: a\nlisten: 1\n', '1:1: guest is missing, expected a map of keys'],
    ['service: a\nlisten: 1\nguest:\n', '3:7: guest is empty, expected a map of keys'],
  ])('says what is wrong with the text %j', (text, expected) => {
    expect(problems(text).join('\n')).toContain(expected);
  });

  it('is refused when a few lines of aliases would grow to gigabytes', () => {
    const bomb = ['a: &a [x, x, x, x, x, x, x, x, x, x]'];
    for (let i = 0; i < 9; i++) {
      const [from, to] = ['abcdefghij'[i], 'abcdefghij'[i + 1]];
      bomb.push(`${to}: &${to} [${Array(10).fill(`*${from}`).join(', ')}]`);
    }
    expect(problems(bomb.join('\n'))[0]).toContain('not usable YAML: Excessive alias count');
  });
});

describe('rules over several keys', () => {
  const guest = (body: string) => `service: a\nlisten: 1\nguest: {${body}}\n`;
  const linux = 'service: a\nlisten: 1\nguest: {profile: linux, kernel: k}\n';

  it.each([
    ['profile: linux, kernel: k, disk: d', '3:36: guest.kernel and guest.disk are both given'],
    ['profile: linux', '3:1: guest boots nothing, expected guest.kernel or guest.disk'],
    ['profile: linux, disk: d, initrd: i', '3:34: guest.initrd is given without a kernel'],
    ['profile: linux, disk: d, cmdline: x', '3:34: guest.cmdline is given with a disk'],
    ['profile: linux, disk: d, wake: /wake', '3:34: guest.wake is given with a disk'],
    ['profile: nanos, disk: d, wake: none', '3:34: guest.wake is given with a disk'],
    ['profile: nanos', '3:1: guest.disk is missing'],
    ['profile: nanos, kernel: k', '3:25: guest.kernel is given for a nanos guest'],
    [
      'profile: nanos, disk: d, volumes: virtio-blk',
      '3:34: guest.volumes is virtio-blk, expected virtio-scsi',
    ],
    ['profile: custom, disk: d, swap: replace', '3:1: guest.volumes is missing'],
    ['profile: custom, disk: d, volumes: virtio-blk', '3:1: guest.swap is missing'],
  ])('hold for a guest of {%s}', (body, expected) => {
    expect(problems(guest(body)).join('\n')).toContain(`app/unideploy.yaml:${expected}`);
  });

  it.each([
    ['{name: x}', '4:11: volume "x" has no content, expected source, file or build'],
    ['{source: s, file: f}', '4:23: volume "code" has both source and file'],
    ['{source: s, format: raw}', '4:23: format is raw, expected squashfs, ext4, iso9660 or fat'],
    ['{source: s, revision: r}', '4:23: revision is given for a folder'],
    ['{source: s}, {source: t, probe: /t}', 'volumes[1] has the name "code" of volumes[0], expected another'],
    ['{source: s}, {name: t, source: t}', 'volumes[1] has the probe "/.unideploy/revision" of volumes[0]'],
  ])('hold for volumes [%s]', (body, expected) => {
    expect(problems(`${linux}volumes: [${body}]\n`).join('\n')).toContain(expected);
  });
});

describe('a config file', () => {
  it('that is not there is reported with the way to make one', async () => {
    const missing = loadConfig(join(import.meta.dirname, 'nowhere.yaml'));
    await expect(missing).rejects.toMatchObject({
      code: 'UD_CONFIG_NOT_FOUND',
      message: expect.stringContaining('nowhere.yaml does not exist'),
      next: expect.stringContaining('unideploy init'),
    });
  });

  it('that is a folder is reported too', async () => {
    await expect(loadConfig(import.meta.dirname)).rejects.toMatchObject({ code: 'UD_CONFIG_NOT_FOUND' });
  });
});

describe('a config that would be too much', () => {
  it.each([
    ['of a size that none has', `a: ${'x'.repeat(70_000)}`, '1:1', 'the file is too large'],
    ['nested without end', '['.repeat(1_000), '1:33', 'nested too deeply'],
    ['nested by dashes', `a: 1\n${'- '.repeat(1_000)}`, '2:65', 'nested too deeply'],
    ['of keys of keys', '? '.repeat(20), '1:3', 'a key is a list, a map or an alias'],
    ['of aliases', `a: &a 1\nb: [${'*a, '.repeat(101)}]`, '2:405', 'too many aliases'],
  ])('%s is refused before it is read', (_what, text, at, message) => {
    expect(problems(text)).toEqual([expect.stringContaining(`app/unideploy.yaml:${at}: ${message}`)]);
  });

  it('is one that nests as deeply as one may, with text as wide as one may', () => {
    const text = `${SIMPLE}rollout:\n  hooks:\n    pre-build:\n      - command: |\n${' '.repeat(300)}true [[[[{{{{\n`;
    expect(problems(text)).toEqual([]);
  });

  it('names keys that no terminal should see in a form that it may', () => {
    expect(problems(`${SIMPLE}"\\e[2J\\n\\u202e": 1\n`)[0]).toMatch(/unknown key "\\u001b\[2J\\n/);
  });
});
