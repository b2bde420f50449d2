import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Snapshot, SnapshotMessage, Tick, TrialMessage, Welcome } from '../src/protocol';
import { RunSession, SAY_AGAIN_MS, TIME_LIMIT_MS } from '../src/session/session';
import { fixture } from './fixtures';
import { Answers } from './kernel';

const RUN = fixture<Snapshot>('snapshot').run;

describe('a session', () => {
  let wire: Answers;
  let session: RunSession;
  beforeEach(() => {
    vi.useFakeTimers();
    wire = new Answers();
    session = new RunSession(RUN, 'client-1', wire);
  });
  afterEach(() => {
    session.dispose();
    vi.useRealTimers();
  });

  const live = () => {
    session.attach();
    session.receive(fixture<SnapshotMessage>('snapshot_message'));
  };

  it('says hello, and is live with the first snapshot', () => {
    session.attach();
    expect(wire.last('hello').have).toBe(null);
    session.receive(fixture<SnapshotMessage>('snapshot_message'));
    expect(session.link.value.kind).toBe('live');
    expect(session.state.value?.seq).toBe(57);
  });

  it('says what it has, when it has something', () => {
    session.offer(fixture<Snapshot>('snapshot'));
    session.attach();
    expect(wire.last('hello').have).toBe(57);
    session.receive({ ...fixture<Welcome>('welcome'), cid: wire.last('hello').cid });
    expect(session.link.value.kind).toBe('live');
    expect(session.isWriter.value).toBe(true);
  });

  it('is live no more when the end of the run comes as an output', () => {
    live();
    const snapshot = fixture<Snapshot>('snapshot');
    session.offer({ ...snapshot, seq: 58, header: { ...snapshot.header, state: 'finished' } });
    expect(session.link.value.kind).toBe('idle');
  });

  it('takes the next delta, drops old ones, and asks again after a gap', () => {
    live();
    const delta = fixture<Tick>('tick').runs[0]!;
    session.receiveDelta(delta);
    expect(session.state.value?.seq).toBe(63);
    session.receiveDelta(delta);
    expect(session.state.value?.seq).toBe(63);
    const n = wire.sent.length;
    session.receiveDelta({ ...delta, base: 90, seq: 95 });
    expect(session.state.value?.seq).toBe(63);
    expect(wire.sent.length).toBe(n + 1);
    expect(wire.last('hello').have).toBe(63);
  });

  it('is static when nobody answers', () => {
    session.attach();
    vi.advanceTimersByTime(TIME_LIMIT_MS + 1);
    expect(session.link.value).toEqual({ kind: 'static', reason: 'no-answer' });
  });

  it('is static with another version', () => {
    session.attach();
    session.receive({ ...fixture<SnapshotMessage>('snapshot_message'), v: 99 as 1 });
    expect(session.link.value).toEqual({ kind: 'static', reason: 'version' });
  });

  it('loses the kernel and finds it again', () => {
    live();
    wire.channel.value = { kind: 'none', isKernel: true };
    expect(session.link.value).toEqual({ kind: 'static', reason: 'not-loaded' });
    wire.channel.value = { kind: 'open', n: 2 };
    session.receive(fixture<SnapshotMessage>('snapshot_message'));
    expect(session.link.value.kind).toBe('live');
  });

  it('says that the kernel of a finished run is gone, and nothing once there is one', () => {
    live();
    const snapshot = fixture<Snapshot>('snapshot');
    session.offer({ ...snapshot, seq: 58, header: { ...snapshot.header, state: 'finished' } });
    wire.channel.value = { kind: 'none', isKernel: true };
    expect(session.link.value).toEqual({ kind: 'static', reason: 'not-loaded' });
    wire.channel.value = { kind: 'open', n: 2 };
    expect(session.link.value.kind).toBe('idle');
  });

  it('says nothing of a kernel that never spoke of a finished run', () => {
    const snapshot = fixture<Snapshot>('snapshot');
    session.offer({ ...snapshot, header: { ...snapshot.header, state: 'finished' } });
    session.attach();
    wire.channel.value = { kind: 'none', isKernel: false };
    expect(session.link.value.kind).toBe('idle');
  });

  it('tells what became of a command', () => {
    live();
    session.command({ type: 'Pause' });
    expect(session.notice.value).toEqual({ kind: 'sent' });
    const { cid } = wire.last('command');
    session.receive({ type: 'ack', v: 1, to: 'client-1', cid, ok: false, text: 'it is paused already' });
    expect(session.notice.value).toEqual({ kind: 'failed', text: 'it is paused already' });
  });

  it('says when a command waits', () => {
    live();
    session.command({ type: 'Stop' });
    vi.advanceTimersByTime(TIME_LIMIT_MS + 1);
    expect(session.notice.value).toEqual({ kind: 'slow' });
  });

  it('sends a command that was given before the way to the kernel was open', () => {
    live();
    wire.channel.value = { kind: 'opening' };
    session.command({ type: 'Stop' });
    expect(wire.last('command')).toBeUndefined();
    wire.channel.value = { kind: 'open', n: 2 };
    expect(wire.last('command').command).toEqual({ type: 'Stop' });
  });

  it('sends a command that was not answered again over a new connection, an answered one not', () => {
    live();
    session.command({ type: 'Pause' });
    session.receive({ type: 'ack', v: 1, to: 'client-1', cid: wire.last('command').cid, ok: true, text: '' });
    session.command({ type: 'Stop' });
    const { cid } = wire.last('command');
    wire.channel.value = { kind: 'none', isKernel: true };
    wire.channel.value = { kind: 'open', n: 2 };
    const sent = wire.sent.filter((message) => message.type === 'command');
    expect(sent.map((message) => message.command.type)).toEqual(['Pause', 'Stop', 'Stop']);
    expect(sent[2].cid).toBe(cid);
  });

  it('leaves alone what was commanded long ago', () => {
    live();
    session.command({ type: 'Stop' });
    vi.advanceTimersByTime(SAY_AGAIN_MS);
    wire.channel.value = { kind: 'none', isKernel: true };
    wire.channel.value = { kind: 'open', n: 2 };
    expect(wire.sent.filter((message) => message.type === 'command')).toHaveLength(1);
  });

  it('asks once for curves that it lacks', () => {
    live();
    session.requestCurves('step_loss', [0]);
    session.requestCurves('step_loss', [0]);
    expect(wire.sent.filter((message) => message.type === 'curves')).toHaveLength(1);
  });

  it('has nothing drawn anew for curves that are not there', () => {
    live();
    session.requestCurves('loss', [0]);
    const before = session.state.value;
    const { cid } = wire.last('curves');
    session.receive({ type: 'lines', v: 1, to: 'client-1', cid, run: RUN, name: 'loss', lines: [] });
    expect(session.state.value).toBe(before);
  });

  it('says goodbye with the last view', () => {
    live();
    session.attach();
    session.detach();
    expect(wire.last('bye')).toBeUndefined();
    session.detach();
    expect(wire.last('bye').run).toBe(RUN);
  });

  it('asks once what was kept of a trial, and again of a kernel that started anew', () => {
    live();
    session.requestTrial(8);
    session.requestTrial(8);
    expect(wire.sent.filter(({ type }) => type === 'trial')).toHaveLength(1);
    const answer = { ...fixture<TrialMessage>('trial'), cid: wire.last('trial').cid };
    session.receive(answer);
    expect(session.kept.value.get(8)?.use).toBe('model = small.model(8)');
    wire.channel.value = { kind: 'open', n: 2 };
    expect(session.kept.value.size).toBe(0);
    expect(wire.sent.filter(({ type }) => type === 'trial')).toHaveLength(2);
    session.receive(answer);
    expect(session.kept.value.size).toBe(0);
  });

  it('asks for a trial again that was not answered in time', () => {
    live();
    session.requestTrial(8);
    vi.advanceTimersByTime(TIME_LIMIT_MS);
    session.requestTrial(8);
    expect(wire.sent.filter(({ type }) => type === 'trial')).toHaveLength(2);
  });
});
