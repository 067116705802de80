import { describe, expect, it } from 'vitest';
import { isOutOfMemory, panicLine } from '../../../src/domain/panics.ts';
import type { Machine } from '../../../src/domain/revision.ts';

describe('a word on a panic', () => {
  it.each<[Machine['profile'], string]>([
    ['linux', 'Kernel panic - not syncing: sysrq triggered crash'],
    ['linux', 'Oops: 0002 [#1] PREEMPT SMP'],
    ['linux', 'BUG: unable to handle page fault for address: 0000000000000010'],
    ['linux', 'Out of memory: Killed process 1 (init) total-vm:98304kB'],
    ['nanos', 'assertion !"no fault handler" failed at src/x86_64/interrupt.c:123'],
    ['nanos', 'no fault handler for frame 0xffff'],
    ['nanos', 'frame trace:'],
    ['custom', '[backtrace]'],
    ['custom', 'Fatal error: exception Out_of_memory'],
    ['custom', 'CRIT: [libukboot] Unhandled page fault'],
    ['custom', 'Kernel panic - not syncing: VFS'],
  ])('of %s: %s', (profile, line) => {
    expect(panicLine(['booted', line, 'more'], profile, [])).toBe(line);
  });

  it('is the last one, without its time stamp', () => {
    const console = [
      '[    1.0] Oops: 0002 [#1]',
      '[    1.234567] Kernel panic - not syncing: Fatal exception',
    ];
    const trailer = '[    1.3] ---[ end Kernel panic - not syncing: Fatal exception ]---';
    expect(panicLine([...console, trailer], 'linux', [])).toBe('Kernel panic - not syncing: Fatal exception');
  });

  it('is none where there is none, and one of its makers where they have said it', () => {
    const console = ['unideploy: ready on port 80', 'worker pool exhausted'];
    expect(panicLine(console, 'custom', [])).toBeNull();
    expect(panicLine(console, 'custom', ['pool exhausted'])).toBe('worker pool exhausted');
  });

  it('tells a want of memory from the rest', () => {
    expect(isOutOfMemory('Kernel panic - not syncing: System is deadlocked on memory')).toBe(true);
    expect(isOutOfMemory('Kernel panic - not syncing: sysrq triggered crash')).toBe(false);
  });
});
