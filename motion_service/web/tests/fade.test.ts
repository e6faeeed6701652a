import assert from "node:assert/strict";
import { test } from "node:test";
import { Quaternion, Vector3 } from "three";

import { Fade } from "../player/fade.ts";
import type { Figure } from "../player/puppet.ts";
import { degrees, drawFrom, drawTurn } from "./made.ts";

const BONES = 5;
const still = (draw: () => number, most?: number): Figure => ({
  turns: Array.from({ length: BONES }, () => drawTurn(draw, most)),
  hips: new Vector3(draw(), draw(), draw()),
});
const copy = ({ turns, hips }: Figure): Figure => ({ turns: turns.map((turn) => turn.clone()), hips: hips.clone() });
const widest = (a: Figure, b: Figure): number => Math.max(...a.turns.map((turn, i) => degrees(turn, b.turns[i]!)));

test("no step is larger than 5 degrees, however far apart the poses, however fast they were, however slow the screen", () => {
  for (let seed = 0; seed < 200; seed++) {
    const draw = drawFrom(seed);
    const [earlier, to] = [still(draw), still(draw)];
    const from = copy(earlier);
    for (const turn of from.turns) turn.premultiply(drawTurn(draw, 0.15));
    const fade = new Fade(BONES);
    fade.begin(from, earlier, 1 / 60, to, to, 1 / 60);
    let shown = from;
    let frames = 0;
    while (fade.active) {
      const figure = copy(to);
      fade.apply(figure, frames > 0 ? [1 / 60, 1 / 144, 1 / 15, 0.4][seed % 4]! : 0);
      const step = widest(figure, shown);
      assert.ok(step <= 5, `seed ${seed}: ${step} degrees`);
      assert.ok(figure.hips.distanceTo(shown.hips) < 0.05);
      shown = figure;
      assert.ok(frames++ < 1000);
    }
    assert.ok(widest(shown, to) < 1e-6 && shown.hips.distanceTo(to.hips) < 1e-9, "nothing is left");
  }
});

test("speed is carried over: a motion that goes on as it was does not stumble", () => {
  const up = new Vector3(0, 1, 0);
  const swing = (t: number, shift: number): Figure => ({
    turns: Array.from({ length: BONES }, () => new Quaternion().setFromAxisAngle(up, 1.5 * t + shift)),
    hips: new Vector3(0, 1, t),
  });
  const dt = 1 / 60;
  const fade = new Fade(BONES);
  fade.begin(swing(0, 0), swing(-dt, 0), dt, swing(dt, 0.3), swing(2 * dt, 0.3), dt);
  let shown = swing(0, 0);
  let pace = 1.5 * dt * (180 / Math.PI);
  for (let frame = 1; fade.active; frame++) {
    const figure = swing(frame * dt, 0.3);
    fade.apply(figure, frame > 1 ? dt : 0);
    const step = widest(figure, shown);
    assert.ok(Math.abs(step - pace) < 0.45, `frame ${frame}: ${step} after ${pace} degrees`);
    [shown, pace] = [figure, step];
  }
});
