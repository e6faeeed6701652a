import assert from "node:assert/strict";
import { test } from "node:test";
import { Quaternion, Vector3 } from "three";

import { readAnswer } from "../player/answer.ts";
import { Playback } from "../player/playback.ts";
import { Pose } from "../player/pose.ts";
import { degrees, makeAnswer } from "./made.ts";

const UP = new Vector3(0, 1, 0);
const swing = (_: string, t: number) => new Quaternion().setFromAxisAngle(UP, Math.sin(2 * t));
const spin = (_: string, t: number) => new Quaternion().setFromAxisAngle(UP, Math.PI * t); // a round in two seconds
const at = (playback: Playback): Quaternion => {
  const pose = new Pose();
  assert.ok(playback.sample(pose));
  return pose.turn("spine");
};

for (const interpolate of [true, false]) {
  test(`20 and 30 frames a second play at the same speed, ${interpolate ? "with" : "without"} moments between`, () => {
    const [slow, quick] = [20, 30].map(
      (fps) => new Playback(readAnswer(makeAnswer(swing, { fps, seconds: 3 })), { interpolate }),
    ) as [Playback, Playback];
    for (let i = 0; i < 160; i++) {
      const truth = swing("", slow.time);
      const allowed = interpolate ? 0.2 : (2 * 180) / Math.PI / 20 + 0.01; // a frame of the fastest turning
      assert.ok(degrees(at(slow), truth) < allowed && degrees(at(quick), truth) < allowed, `frame ${i}`);
      for (const playback of [slow, quick]) playback.advance(1 / 60);
      assert.ok(Math.abs(slow.time - quick.time) < 1e-9);
    }
  });
}

test("moments between frames move steadily at 60 a second from 20", () => {
  const playback = new Playback(readAnswer(makeAnswer((_, t) => new Quaternion().setFromAxisAngle(UP, t), { seconds: 2 })));
  const steps = [];
  for (let before = at(playback), i = 0; i < 100; i++) {
    playback.advance(1 / 60);
    const now = at(playback);
    steps.push(degrees(now, before));
    before = now;
  }
  assert.ok(Math.max(...steps) - Math.min(...steps) < 0.01);
});

test("speed, pause and seeking", () => {
  const playback = new Playback(readAnswer(makeAnswer(swing, { seconds: 2 })), { speed: 0.5 });
  playback.advance(1);
  assert.equal(playback.time, 0.5);
  playback.paused = true;
  playback.advance(1);
  assert.equal(playback.time, 0.5);
  playback.seek(9);
  assert.equal(playback.time, playback.duration);
  assert.ok(!playback.over, "paused");
  playback.paused = false;
  assert.ok(playback.over);
  playback.seek(-1);
  assert.equal(playback.frame, 0);
});

test("a motion made to be looped has no border, another one says where it begins again", () => {
  const seamless = new Playback(readAnswer(makeAnswer(spin, { seconds: 2 })), { loop: true });
  const steps = [];
  for (let before = at(seamless), i = 0; i < 150; i++) {
    seamless.advance(1 / 60);
    assert.ok(!seamless.takeJoin());
    steps.push(degrees(at(seamless), before));
    before = at(seamless);
  }
  assert.equal(seamless.duration, 2);
  assert.ok(Math.max(...steps) < 3.1 && Math.min(...steps) > 2.9); // 180 degrees a second
  const half = new Playback(readAnswer(makeAnswer(spin, { seconds: 0.5 })), { loop: true });
  let joins = 0;
  for (let i = 0; i < 120; i++) {
    half.advance(1 / 60);
    if (half.takeJoin()) joins++;
  }
  assert.equal(joins, 4);
  assert.ok(!half.over);
});
