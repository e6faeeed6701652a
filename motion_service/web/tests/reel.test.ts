import assert from "node:assert/strict";
import { test } from "node:test";

import type { Frames } from "../player/frames.ts";
import { Pose } from "../player/pose.ts";
import { Reel } from "../player/reel.ts";
import { drawFrom } from "./made.ts";

const FPS = 20;

/** Frames whose hips tell their number. */
function numbered(first: number, count: number): Frames {
  const hips = Float32Array.from({ length: 3 * count }, (_, i) => (i % 3 === 0 ? first + i / 3 : 0));
  const rotations = Float32Array.from({ length: 4 * count }, (_, i) => (i % 4 === 3 ? 1 : 0));
  return { count, bones: ["hips"], rotations, hips, weights: {}, gaze: null };
}

const pose = new Pose();
const shown = (reel: Reel): number | null => (reel.sample(pose) ? pose.hips.x : null);

test("frames are shown at their time, with moments between them", () => {
  const reel = new Reel(FPS, 1);
  assert.equal(shown(reel), null);
  reel.advance(3); // nothing there: time has not begun
  reel.put(numbered(0, 10), 0, 0);
  reel.put(numbered(10, 10), 10, 0);
  assert.ok(reel.takeJoin());
  for (let i = 0; i < 57; i++) {
    assert.ok(Math.abs(shown(reel)! - (i * FPS) / 60) < 1e-3);
    reel.advance(1 / 60);
  }
  assert.ok(!reel.takeJoin());
});

test("without a next frame the last one stays, and goes on from there", () => {
  const reel = new Reel(FPS, 1);
  reel.put(numbered(0, 5), 0, 0);
  for (let i = 0; i < 40; i++) reel.advance(1 / 60);
  assert.equal(shown(reel), 4);
  assert.ok(Math.abs(reel.held - (40 / 60 - 4 / FPS)) < 1e-6);
  reel.put(numbered(5, 5), 5, 0);
  reel.takeJoin();
  reel.advance(1 / 60);
  assert.ok(Math.abs(shown(reel)! - 4 - FPS / 60) < 1e-5);
  assert.ok(!reel.takeJoin());
});

test("replaced ahead of the screen: no frame of the old revision from there on, and no join", () => {
  const reel = new Reel(FPS, 1);
  reel.put(numbered(0, 20), 0, 0);
  reel.takeJoin();
  reel.advance(0.25);
  reel.replaceFrom(8, 1);
  reel.put(numbered(1008, 12), 8, 1);
  reel.put(numbered(5000, 20), 0, 0); // of the old revision, late
  reel.advance(0.1);
  assert.equal(shown(reel), 7);
  reel.advance(0.1);
  assert.equal(shown(reel), 1009);
  assert.ok(!reel.takeJoin());
});

test("replaced on the screen: the new frames join", () => {
  const reel = new Reel(FPS, 1);
  reel.put(numbered(0, 20), 0, 0);
  reel.advance(0.5);
  reel.takeJoin();
  reel.replaceFrom(9, 1);
  reel.advance(1 / 60);
  assert.equal(shown(reel), null);
  reel.put(numbered(1009, 10), 9, 1);
  assert.equal(shown(reel), 1010);
  assert.ok(reel.takeJoin());
});

test("frames in a gap are passed over, when the screen comes to them", () => {
  const reel = new Reel(FPS, 1);
  reel.put(numbered(0, 10), 0, 0);
  reel.takeJoin();
  reel.put(numbered(30, 10), 30, 0);
  reel.advance(0.4);
  assert.equal(shown(reel), 8);
  reel.advance(0.1);
  assert.ok(shown(reel)! >= 30);
  assert.equal(reel.skipped, 20);
  assert.ok(reel.takeJoin());
});

test("a stream that is taken up again goes on at its frame, back or ahead", () => {
  for (const first of [5, 40]) {
    const reel = new Reel(FPS, 1);
    reel.put(numbered(0, 20), 0, 0);
    reel.advance(0.5);
    reel.takeJoin();
    reel.reopen(first, 1);
    reel.put(numbered(1000 + first, 10), first, 1);
    for (let i = 0; i < 60 && (shown(reel) ?? 0) < 1000; i++) reel.advance(1 / 60);
    assert.ok(shown(reel)! < 1000 + first + 1);
    assert.ok(reel.takeJoin());
  }
});

test("a screen that fell far behind catches up", () => {
  const reel = new Reel(FPS, 1);
  for (let first = 0; first < 400; first += 10) reel.put(numbered(first, 10), first, 0);
  reel.takeJoin();
  reel.advance(1 / 60);
  assert.ok(reel.ahead <= 1.05 && reel.ahead > 0.9);
  assert.ok(reel.takeJoin() && reel.skipped > 300);
});

test("random sessions: in a revision the screen goes forward, leaves nothing out, and only joins where it must", () => {
  for (let seed = 0; seed < 300; seed++) {
    const draw = drawFrom(seed);
    const reel = new Reel(FPS, 1);
    let [sent, revision, last] = [0, 0, -1];
    for (let step = 0; step < 200; step++) {
      const what = draw();
      if (what < 0.5 && sent - reel.head < 2 * FPS) {
        const count = 1 + Math.floor(draw() * 10);
        reel.put(numbered(sent, count), sent, revision);
        sent += count;
      } else if (what > 0.97) {
        sent = Math.min(sent, Math.floor(reel.head) + Math.floor(draw() * 20) - 3);
        sent = Math.max(0, sent);
        reel.replaceFrom(sent, ++revision);
      }
      const before = reel.head;
      reel.advance(draw() / 10);
      assert.ok(reel.head >= before && reel.head <= Math.max(sent - 1, before));
      const frame = shown(reel);
      if (frame === null) continue;
      assert.ok(Math.abs(frame - reel.head) < 1e-3, `seed ${seed}: frame ${frame} at ${reel.head}`);
      const joins = reel.takeJoin();
      assert.ok(joins || frame - last < 3 || last < 0);
      last = frame;
    }
    assert.equal(reel.skipped, 0);
  }
});
