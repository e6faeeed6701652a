import assert from "node:assert/strict";
import { test } from "node:test";
import { Quaternion, Vector3 } from "three";

import { PARENTS } from "../player/bones.ts";
import { Pose } from "../player/pose.ts";
import { Puppet } from "../player/puppet.ts";
import { BODY, degrees, drawFrom, drawTurn, makeAvatar, turnOf } from "./made.ts";

function drawPose(seed: number, bones = BODY): Pose {
  const draw = drawFrom(seed);
  const pose = new Pose();
  for (const bone of bones) pose.turn(bone).copy(drawTurn(draw));
  pose.hips.set(0.1, 1.1, -0.3);
  return pose;
}

/** Orientation of a bone in the figure. */
function world(bone: string, turn: (bone: string) => Quaternion | undefined): Quaternion {
  const total = new Quaternion();
  for (let name: string | null | undefined = bone; name; name = PARENTS.get(name)) total.premultiply(turn(name) ?? new Quaternion());
  return total;
}

test("there are 55 bones, and every one hangs on an earlier one", () => {
  const order = [...PARENTS.keys()];
  assert.equal(order.length, 55);
  for (const [bone, parent] of PARENTS) {
    assert.ok(parent === null ? bone === "hips" : order.indexOf(parent) < order.indexOf(bone));
  }
});

test("bones that an avatar lacks are folded into their children: all others stand as they should", () => {
  for (const lacking of [[], ["upperChest"], ["chest", "upperChest", "neck", "leftShoulder", "rightShoulder", "leftToes"]]) {
    const avatar = makeAvatar({ bones: BODY.filter((bone) => !lacking.includes(bone)) });
    const puppet = new Puppet(avatar);
    const pose = drawPose(6);
    const figure = puppet.newFigure();
    puppet.pose(pose, figure);
    puppet.write(figure);
    for (const bone of puppet.bones) {
      const seen = world(bone, (name) => avatar.nodes.get(name)?.quaternion);
      assert.ok(degrees(seen, world(bone, (name) => pose.turns.get(name))) < 1e-4, bone);
    }
  }
});

test("an avatar of VRM 0.x gets its own axes, and every avatar its own size", () => {
  const pose = drawPose(7);
  for (const [version, sign] of [["0", -1], ["1", 1]] as const) {
    const avatar = makeAvatar({ version, height: 0.7 });
    const puppet = new Puppet(avatar);
    const figure = puppet.newFigure();
    puppet.pose(pose, figure);
    puppet.write(figure);
    const { x, y, z, w } = pose.turn("leftHand");
    assert.ok(degrees(turnOf(avatar, "leftHand"), new Quaternion(sign * x, y, sign * z, w)) < 1e-4);
    assert.ok(avatar.nodes.get("hips")!.position.distanceTo(new Vector3(sign * 0.07, 0.77, sign * -0.21)) < 1e-6);
    const back = puppet.newFigure();
    puppet.read(back);
    assert.deepEqual(back, figure);
  }
});

test("a motion of some bones leaves the others alone, one of the whole body leaves fingers alone", () => {
  const avatar = makeAvatar({ bones: [...BODY, "leftIndexProximal"] });
  const puppet = new Puppet(avatar);
  const below = drawPose(8, [...BODY, "leftIndexProximal"]);
  const pose = (moved: string[]): ((bone: string) => Quaternion) => {
    const figure = puppet.newFigure();
    puppet.pose(below, figure);
    puppet.pose(drawPose(9, moved), figure);
    return (bone) => figure.turns[puppet.bones.indexOf(bone)]!;
  };
  const some = pose(["spine", "head"]);
  assert.ok(degrees(some("leftUpperArm"), below.turn("leftUpperArm")) < 1e-6);
  const whole = pose(["hips", "spine", "head"]);
  assert.ok(degrees(whole("leftUpperArm"), new Quaternion()) < 1e-6);
  assert.ok(degrees(whole("leftIndexProximal"), below.turn("leftIndexProximal")) < 1e-6);
});

test("a bone that nobody else has touched since is where somebody else had it last", () => {
  const avatar = makeAvatar({ version: "0" });
  const idle = drawTurn(drawFrom(10));
  turnOf(avatar, "head").copy(idle);
  const puppet = new Puppet(avatar);
  const pose = new Pose();
  for (let frame = 0; frame < 3; frame++) {
    puppet.noteForeign();
    puppet.readForeign(pose.clear());
    const figure = puppet.newFigure();
    puppet.pose(drawPose(frame), figure);
    puppet.write(figure);
  }
  const { x, y, z, w } = pose.turn("head");
  assert.ok(degrees(new Quaternion(-x, y, -z, w), idle) < 1e-6);
  turnOf(avatar, "head").identity();
  puppet.noteForeign();
  puppet.readForeign(pose.clear());
  assert.ok(degrees(pose.turn("head"), new Quaternion()) < 1e-6);
});
