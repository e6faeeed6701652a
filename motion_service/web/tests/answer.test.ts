import assert from "node:assert/strict";
import { test } from "node:test";
import { Quaternion } from "three";

import { readAnswer } from "../player/answer.ts";
import { showBetween } from "../player/frames.ts";
import { Pose } from "../player/pose.ts";
import { degrees, drawFrom, drawTurn, makeAnswer, makeStill } from "./made.ts";

const rounded = (value: number): number => Math.round(value * 1e5) / 1e5;

test("frames are the keys of the answer, hips in heights of the hips at rest", () => {
  const draw = drawFrom(2);
  const turns = Array.from({ length: 30 }, () => drawTurn(draw));
  const answer = makeAnswer((_, t) => turns[Math.round(t * 30)]!, { fps: 30 });
  for (const keys of [...Object.values(answer.tracks), answer.root_position!]) for (const key of keys) key.t = rounded(key.t);
  const motion = readAnswer(answer);
  assert.equal(motion.count, 30);
  const pose = new Pose();
  for (let index = 0; index < 30; index++) {
    showBetween({ frames: motion, index }, { frames: motion, index }, 0, pose);
    assert.ok(degrees(pose.turn("leftHand"), turns[index]!) < 1e-3);
    assert.ok(pose.hips.distanceTo({ x: 0, y: 1, z: index / 30 / 0.95 }) < 1e-4);
  }
});

test("an answer for VRM 0.x is turned to the axes of VRM 1.0", () => {
  const one = makeStill(3);
  const zero = makeStill(3);
  for (const key of Object.values(zero.tracks).flat()) [key.x, key.z] = [-key.x, -key.z];
  for (const key of zero.root_position!) [key.x, key.z] = [-key.x, -key.z];
  zero.metadata = { ...zero.metadata, target: "vrm0" };
  assert.deepEqual(readAnswer(zero).rotations, readAnswer(one).rotations);
});

test("sparse keys of another maker are filled in by slerp", () => {
  const half = Math.PI / 4;
  const answer = {
    fps: 24,
    tracks: {
      spine: [
        { t: 0, x: 0, y: 0, z: 0, w: 1 },
        { t: 2, x: 0, y: Math.sin(half), z: 0, w: Math.cos(half) },
      ],
    },
  };
  const motion = readAnswer(answer);
  assert.equal(motion.count, 49);
  assert.equal(motion.hips, null);
  const middle = new Quaternion().fromArray(motion.rotations, 4 * 24);
  assert.ok(degrees(middle, new Quaternion(0, Math.sin(half / 2), 0, Math.cos(half / 2))) < 1e-3);
});

test("expressions and gaze are read", () => {
  const more = { expressions: { blink: [{ t: 0, weight: 0 }, { t: 0.05, weight: 1 }] }, look_at: [{ t: 0, yaw: 0.1, pitch: -0.2 }] };
  const motion = readAnswer({ ...makeStill(4), ...more });
  assert.deepEqual([...motion.weights.blink!.slice(0, 3)], [0, 1, 1]);
  assert.ok(Math.abs(motion.gaze![39]! + 0.2) < 1e-6);
});

test("what is no motion is refused in words", () => {
  assert.throws(() => readAnswer({ tracks: {} }), /no tracks/);
  assert.throws(() => readAnswer({ detail: "no" } as never), /no tracks/);
  const broken = makeStill(5);
  (broken.tracks.hips![3] as { x: unknown }).x = "left";
  assert.throws(() => readAnswer(broken), TypeError);
});
