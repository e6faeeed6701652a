// Avatars and answers made for tests, and numbers drawn from a seed.
import { Object3D, Quaternion, Vector3 } from "three";

import type { Answer, QuatKey } from "../player/answer.ts";
import { PARENTS } from "../player/bones.ts";
import type { Avatar } from "../player/puppet.ts";

/** Numbers from 0 to 1, the same for the same seed. */
export function drawFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export const drawTurn = (draw: () => number, most = Math.PI): Quaternion => {
  const axis = new Vector3(draw() - 0.5, draw() - 0.5, draw() - 0.5).normalize();
  return new Quaternion().setFromAxisAngle(axis, most * draw());
};

/** Angle between two rotations, degrees. */
export function degrees(a: Quaternion, b: Quaternion): number {
  const { x, y, z, w } = a.clone().invert().multiply(b); // exact for small angles, unlike an arc cosine
  return (2 * Math.atan2(Math.hypot(x, y, z), Math.abs(w)) * 180) / Math.PI;
}

export const BODY = [...PARENTS.keys()].filter((bone) => !/Eye|jaw|Thumb|Index|Middle|Ring|Little/.test(bone));

export interface MadeAvatar extends Avatar {
  nodes: Map<string, Object3D>;
  faces: Map<string, number>;
}

/** An avatar with these normalised bones, hips at `height` m. */
export function makeAvatar({ version = "1", height = 0.9, bones = BODY } = {}): MadeAvatar {
  const nodes = new Map(bones.map((bone) => [bone, new Object3D()]));
  nodes.get("hips")!.position.set(0, height, 0);
  const faces = new Map<string, number>();
  return {
    nodes,
    faces,
    meta: { metaVersion: version },
    humanoid: {
      getNormalizedBoneNode: (bone: string) => nodes.get(bone) ?? null,
      normalizedRestPose: { hips: { position: [0, height, 0] } },
    },
    expressionManager: { setValue: (name: string, weight: number) => faces.set(name, weight) },
  } as unknown as MadeAvatar;
}

export const turnOf = (avatar: MadeAvatar, bone: string): Quaternion => avatar.nodes.get(bone)!.quaternion;

type Turning = (bone: string, time: number) => Quaternion;

/** An answer whose bones turn as `turn` says; the hips travel forward at 1 m/s for a body of hips at 0.95 m. */
export function makeAnswer(turn: Turning, { fps = 20, seconds = 1, bones = BODY, ...more } = {}): Answer {
  const times = Array.from({ length: Math.round(seconds * fps) }, (_, i) => i / fps);
  const key = (bone: string, t: number): QuatKey => {
    const { x, y, z, w } = turn(bone, t);
    return { t, x, y, z, w };
  };
  return {
    fps,
    tracks: Object.fromEntries(bones.map((bone) => [bone, times.map((t) => key(bone, t))])),
    root_position: times.map((t) => ({ t, x: 0, y: 0.95, z: t })),
    metadata: { target: "vrm1", rest_hips_height: 0.95 },
    ...more,
  };
}

/** All bones stand still in one pose drawn from a seed. */
export function makeStill(seed: number, options: Parameters<typeof makeAnswer>[1] = {}): Answer {
  const draw = drawFrom(seed);
  const turns = new Map(BODY.map((bone) => [bone, drawTurn(draw, 2.5)]));
  const answer = makeAnswer((bone) => turns.get(bone)!, options);
  for (const key of answer.root_position ?? []) key.z = 0;
  return answer;
}
