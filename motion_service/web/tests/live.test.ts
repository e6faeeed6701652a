import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { LiveStream, MotionPlayer } from "../player/index.ts";
import { makeAvatar } from "./made.ts";

type Said = { type: string; [field: string]: unknown };

/** A socket without a network: tests play the server. */
class FakeSocket {
  static readonly OPEN = 1;
  static made: FakeSocket[] = [];
  readyState = 0;
  binaryType = "blob";
  onopen?: () => void;
  onmessage?: (event: { data: string }) => void;
  onclose?: (event: { code: number }) => void;
  readonly said: Said[] = [];

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeSocket.made.push(this);
  }

  send(text: string): void {
    this.said.push(JSON.parse(text) as Said);
  }

  close(code = 1000): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({ code });
  }

  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  tell(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  start(first_frame = 0, revision = 0): void {
    this.open();
    this.tell({ type: "started", fps: 20, lead_sec: 1, first_frame, revision, target: "vrm1", rest_hips_height: 1 });
  }

  /** Frames whose hips tell their number. */
  chunk(first_frame: number, n: number, revision = 0, more = {}): void {
    const numbers = Array.from({ length: n }, (_, i) => first_frame + i);
    const tracks = { hips: numbers.map((i) => ({ t: i / 20, x: 0, y: 0, z: 0, w: 1 })) };
    const root = numbers.map((i) => ({ t: i / 20, x: revision, y: 1, z: i }));
    this.tell({ type: "chunk", first_frame, n, revision, tracks, root, contacts: [], ...more });
  }

  of(type: string): Said[] {
    return this.said.filter((message) => message.type === type);
  }
}

const newest = (): FakeSocket => FakeSocket.made.at(-1)!;
const run = (stream: LiveStream, seconds: number): void => {
  for (let i = 0; i < Math.round(seconds * 60); i++) stream.advance(1 / 60);
};

const real = globalThis.WebSocket;
beforeEach(() => {
  FakeSocket.made = [];
  globalThis.WebSocket = FakeSocket as unknown as typeof WebSocket;
  mock.timers.enable({ apis: ["setTimeout"] });
});
afterEach(() => {
  globalThis.WebSocket = real;
  mock.timers.reset();
});

test("address, key and what it starts with", () => {
  new LiveStream("https://host/base/", { key: "sécret", prompt: "walks", fps: 30 });
  assert.equal(newest().url, "wss://host/base/v1/motion/stream");
  assert.deepEqual(newest().protocols, ["motion.v1", "key.c8OpY3JldA"]);
  newest().open();
  assert.deepEqual(newest().said, [{ v: 1, type: "start", encoding: "msgpack", prompt: "walks", fps: 30 }]);
  new LiveStream("ws://host:7100/v1/motion/stream");
  assert.equal(newest().url, "ws://host:7100/v1/motion/stream");
});

test("the frame on the screen is told once a second and with every text", () => {
  const stream = new LiveStream("ws://host");
  newest().start();
  run(stream, 2);
  assert.equal(newest().of("ack").length, 0, "nothing on the screen yet");
  newest().chunk(0, 40);
  run(stream, 1.5);
  newest().chunk(40, 40);
  run(stream, 2);
  assert.deepEqual(newest().of("ack").map(({ frame }) => Math.round((frame as number) / 5)), [0, 4, 8, 12]);
  stream.prompt("waves");
  assert.deepEqual(newest().of("prompt"), [{ v: 1, type: "prompt", text: "waves", at: "now", frame: 70 }]);
  assert.equal(stream.status.frame, 70);
});

test("reaction is from the text to its first frame on the screen", () => {
  const stream = new LiveStream("ws://host");
  newest().start();
  newest().chunk(0, 20);
  run(stream, 0.2);
  stream.prompt("waves");
  newest().tell({ type: "prompt_applied", reason: "prompt", from_frame: 8, revision: 1, captions: [] });
  newest().chunk(8, 20, 1);
  run(stream, 0.1);
  assert.equal(stream.status.reaction, null);
  run(stream, 0.15);
  assert.ok(stream.status.reaction! >= 0);
});

test("a lost connection is taken up again with the token and the last text, at the frame where it was", () => {
  const states: string[] = [];
  const stream = new LiveStream("ws://host", { prompt: "walks", onState: (state) => states.push(state) });
  newest().start();
  newest().chunk(0, 20, 0, { resume_token: "T" });
  stream.prompt("waves");
  run(stream, 0.5);
  newest().close(1006);
  run(stream, 0.2);
  assert.ok(stream.status.frame >= 13, "what came before is shown meanwhile");
  mock.timers.tick(300);
  assert.equal(FakeSocket.made.length, 2);
  newest().open();
  assert.deepEqual(newest().said, [{ v: 1, type: "start", encoding: "msgpack", resume_token: "T", prompt: "waves" }]);
  newest().start(11, 1);
  assert.ok(stream.status.frame >= 13);
  newest().chunk(11, 20, 1);
  assert.equal(stream.status.frame, 11);
  assert.ok(stream.takeJoin());
  assert.deepEqual(states, ["running", "lost", "running"]);
});

test("a server that goes away serves until another one does", () => {
  const stream = new LiveStream("ws://host");
  newest().start();
  const first = newest();
  first.chunk(0, 20);
  first.tell({ type: "draining", resume_token: "D" });
  first.chunk(20, 20);
  const second = newest();
  assert.notEqual(second, first);
  second.start(25, 1);
  assert.equal(second.of("start")[0]!.resume_token, "D");
  assert.equal(first.readyState, 3);
  second.chunk(25, 20, 1);
  run(stream, 1.6);
  assert.equal(stream.status.skipped, 0);
  assert.ok(!stream.over && stream.status.state === "running");
});

test("an attempt that fails is made again, later each time; a token that nobody reads is given up", () => {
  const stream = new LiveStream("ws://host");
  newest().start();
  newest().chunk(0, 20, 0, { resume_token: "T" });
  newest().close(1012);
  for (let i = 0; i < 5; i++) {
    mock.timers.tick(10_000);
    assert.equal(FakeSocket.made.length, i + 2);
    newest().close(1006);
  }
  mock.timers.tick(10_000);
  newest().open();
  newest().close(1008);
  mock.timers.tick(10_000);
  newest().open();
  assert.equal(newest().said[0]!.resume_token, undefined);
  newest().close(1008);
  assert.equal(stream.status.state, "ended");
  mock.timers.tick(60_000);
  assert.equal(FakeSocket.made.length, 8);
});

test("stopped, it is shown to its end; closed, it is over", () => {
  const stream = new LiveStream("ws://host");
  newest().start();
  newest().chunk(0, 21);
  stream.stop("idle");
  assert.equal(newest().of("stop").length, 1);
  newest().tell({ type: "stopped", frames: 21 });
  newest().close(1000);
  run(stream, 0.5);
  assert.ok(!stream.over);
  run(stream, 0.6);
  assert.ok(stream.over);
  const other = new LiveStream("ws://host");
  other.close();
  assert.ok(other.over);
});

test("a player follows a stream from its first frame, holds while there is none, and goes back to idle", () => {
  const avatar = makeAvatar({ height: 0.5 });
  const player = new MotionPlayer(avatar);
  const stream = new LiveStream("ws://host");
  player.follow(stream);
  const hips = avatar.nodes.get("hips")!.position;
  const seconds = (count: number): void => {
    for (let i = 0; i < Math.round(count * 60); i++) player.update(1 / 60);
  };
  seconds(1);
  assert.ok(Math.abs(hips.z) < 1e-9);
  newest().start();
  newest().chunk(0, 41);
  seconds(5);
  assert.ok(Math.abs(hips.z - 20) < 1e-6, "half as large: half as far");
  newest().chunk(41, 20);
  seconds(1.2);
  assert.ok(Math.abs(hips.z - 30) < 1e-6);
  stream.close();
  seconds(60);
  assert.equal(player.following, null);
  assert.ok(Math.abs(hips.z) < 1e-6);
});
