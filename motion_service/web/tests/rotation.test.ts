import assert from "node:assert/strict";
import { test } from "node:test";
import { Quaternion, Vector3 } from "three";

import { fromRotationVector, toRotationVector } from "../player/rotation.ts";
import { drawFrom, drawTurn } from "./made.ts";

test("a rotation and its vector are the same, whatever the quaternion's sign", () => {
  const draw = drawFrom(1);
  for (let i = 0; i < 500; i++) {
    const turn = drawTurn(draw, i < 100 ? 1e-6 : Math.PI);
    for (const sign of [1, -1]) {
      const same = new Quaternion(turn.x * sign, turn.y * sign, turn.z * sign, turn.w * sign);
      const vector = toRotationVector(same, new Vector3());
      assert.ok(vector.length() <= Math.PI + 1e-9);
      const back = fromRotationVector(vector, new Quaternion());
      assert.ok(Math.abs(back.dot(turn)) > 1 - 1e-12);
    }
  }
});
