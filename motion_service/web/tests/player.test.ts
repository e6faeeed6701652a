import assert from "node:assert/strict";
import { test } from "node:test";
import { Quaternion } from "three";

import { MotionPlayer, type PlayerOptions } from "../player/index.ts";
import { BODY, degrees, drawFrom, drawTurn, makeAnswer, makeAvatar, makeStill, turnOf, type MadeAvatar } from "./made.ts";

const FRAME = 1 / 60;

interface Watched {
  avatar: MadeAvatar;
  player: MotionPlayer;
  /** Update for some seconds; the largest turn of a bone in a frame, degrees. */
  run: (seconds: number, frame?: number) => number;
}

function watch(options?: PlayerOptions, avatar = makeAvatar()): Watched {
  const player = new MotionPlayer(avatar, options);
  const run = (seconds: number, frame = FRAME): number => {
    let widest = 0;
    for (let time = 0; time < seconds - 1e-9; time += frame) {
      const before = BODY.map((bone) => turnOf(avatar, bone).clone());
      player.update(frame);
      BODY.forEach((bone, i) => (widest = Math.max(widest, degrees(before[i]!, turnOf(avatar, bone)))));
    }
    return widest;
  };
  return { avatar, player, run };
}

const poseOf = (answer: ReturnType<typeof makeStill>, bone: string): Quaternion => {
  const { x, y, z, w } = answer.tracks[bone]![0]!;
  return new Quaternion(x, y, z, w);
};
const shows = ({ avatar }: Watched, answer: ReturnType<typeof makeStill>): boolean =>
  BODY.every((bone) => degrees(turnOf(avatar, bone), poseOf(answer, bone)) < 0.01);

for (const [name, frame] of [["60", FRAME], ["15", 1 / 15], ["an uneven number of", 0.004]] as const) {
  test(`no join turns a bone by more than 5 degrees a frame at ${name} frames a second`, () => {
    const watched = watch();
    const { player, run } = watched;
    run(frame, frame); // from the T-pose at once
    let widest = run(1, frame);
    for (let seed = 0; seed < 8; seed++) {
      player.play(makeStill(seed, { seconds: 4 }), seed % 2 ? { turn: `${seed}` } : {});
      player.beginTurn(`${seed}`);
      widest = Math.max(widest, run(seed % 3 ? 0.7 : 6, frame)); // some are cut off while they fade in
    }
    player.interrupt();
    widest = Math.max(widest, run(20, frame));
    assert.ok(widest <= 5 && widest > 0.5, `${widest}`);
  });
}

test("a motion is shown as it is, then idle again", () => {
  const watched = watch();
  const { avatar, player, run } = watched;
  player.update(FRAME);
  const arm = turnOf(avatar, "leftUpperArm").clone();
  assert.ok(degrees(arm, new Quaternion()) > 60, "the arms hang");
  const motion = makeStill(1, { seconds: 4 });
  assert.equal(player.play(motion), "playing");
  run(3);
  assert.ok(shows(watched, motion) && !player.fading);
  run(6);
  assert.equal(player.playing, null);
  assert.ok(degrees(turnOf(avatar, "leftUpperArm"), arm) < 0.1);
});

test("held, a motion stays in its last pose; cut, it is there at once", () => {
  const watched = watch();
  const motion = makeStill(2);
  watched.player.play(motion, { hold: true, cut: true });
  watched.player.update(0);
  assert.ok(shows(watched, motion));
  watched.run(9);
  assert.ok(shows(watched, motion) && watched.player.playing);
});

test("out of the T-pose, in which avatars are loaded, nothing is faded", () => {
  const watched = watch();
  const motion = makeStill(3);
  watched.player.play(motion, { hold: true });
  watched.player.update(FRAME);
  assert.ok(shows(watched, motion));
  watched.player.play(makeStill(4), { hold: true });
  watched.player.update(FRAME);
  assert.ok(watched.player.fading);
});

test("seeking while paused shows exactly that moment", () => {
  const { avatar, player } = watch();
  const draw = drawFrom(5);
  const turns = Array.from({ length: 40 }, () => drawTurn(draw));
  player.play(makeAnswer((_, t) => turns[Math.round(t * 20)]!, { seconds: 2 }), { cut: true });
  player.playing!.paused = true;
  for (const frame of [0, 39, 7, 20]) {
    player.playing!.seek(frame / 20);
    player.update(0);
    assert.ok(degrees(turnOf(avatar, "rightHand"), turns[frame]!) < 0.01, `${frame} ${degrees(turnOf(avatar, "rightHand"), turns[frame]!)}`);
  }
});

test("a motion that comes after its turn is dropped, one that comes before it waits, none is shown twice", () => {
  const watched = watch();
  const { player, run } = watched;
  const [one, two] = [makeStill(1, { seconds: 9, job_id: "a" } as never), makeStill(2, { seconds: 9, job_id: "b" } as never)];
  player.beginTurn("1");
  player.beginTurn("2");
  assert.equal(player.play(one, { turn: "1" }), "late");
  run(1);
  assert.equal(player.playing, null);
  assert.equal(player.play(two, { turn: "3" }), "waiting");
  assert.equal(player.playing, null);
  player.beginTurn("3");
  run(3);
  assert.ok(shows(watched, two));
  assert.equal(player.play(two, { turn: "3" }), "seen");
  player.interrupt();
  run(3);
  assert.ok(!shows(watched, two));
  player.beginTurn("4");
  assert.equal(player.playing, null);
});

test("over the page's own mixer: what it does passes through, is left and is come back to without a pop", () => {
  for (const version of ["0", "1"]) {
    const avatar = makeAvatar({ version });
    const idle = makeStill(3);
    const mix = (time: number) => turnOf(avatar, "spine").setFromAxisAngle({ x: 1, y: 0, z: 0 } as never, 0.2 * Math.sin(time));
    for (const bone of BODY) turnOf(avatar, bone).copy(poseOf(idle, bone));
    mix(0);
    const { player } = watch({ idle: "mixer" }, avatar);
    let time = 0;
    let widest = 0;
    const run = (seconds: number) => {
      for (const end = time + seconds; time < end; time += FRAME) {
        const before = BODY.map((bone) => turnOf(avatar, bone).clone());
        if (time < 3) mix(time); // a mixer writes only what changes
        player.update(FRAME);
        BODY.forEach((bone, i) => (widest = Math.max(widest, degrees(before[i]!, turnOf(avatar, bone)))));
      }
    };
    run(1);
    assert.ok(degrees(turnOf(avatar, "leftHand"), poseOf(idle, "leftHand")) < 1e-6);
    const motion = makeStill(4, { seconds: 3 });
    if (version === "0") motion.metadata = { target: "vrm0" };
    player.play(motion);
    run(2.5);
    assert.ok(degrees(turnOf(avatar, "leftHand"), poseOf(motion, "leftHand")) < 0.01);
    run(6);
    assert.ok(degrees(turnOf(avatar, "leftHand"), poseOf(idle, "leftHand")) < 0.01);
    assert.ok(widest <= 5 && widest > 1, `${widest}`);
  }
});

test("an answer as idle goes round and round", () => {
  const idle = makeAnswer((_, t) => new Quaternion().setFromAxisAngle({ x: 0, y: 1, z: 0 } as never, 0.3 * Math.sin(Math.PI * t)), { seconds: 2 });
  for (const key of idle.root_position!) key.z = 0;
  const { avatar, player, run } = watch({ idle });
  run(5);
  const seen: number[] = [];
  for (let i = 0; i < 120; i++) {
    player.update(FRAME);
    seen.push(turnOf(avatar, "head").y);
  }
  assert.ok(Math.max(...seen) > 0.14 && Math.min(...seen) < -0.14);
});

test("expressions come and go", () => {
  const { avatar, player, run } = watch();
  player.play({ ...makeStill(6, { seconds: 2 }), expressions: { happy: [{ t: 0, weight: 0.8 }] } });
  run(1);
  assert.ok(Math.abs(avatar.faces.get("happy")! - 0.8) < 1e-6);
  run(3);
  assert.equal(avatar.faces.get("happy"), 0);
});
