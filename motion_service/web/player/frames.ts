// Frames side by side, as answers and chunks bring them, turned to VRM 1.0 axes and to hips of height 1.
import { Quaternion } from "three";

import type { Pose } from "./pose.ts";

export interface Frames {
  /** How many there are. */
  count: number;
  bones: readonly string[];
  /** count x bones x 4, xyzw */
  rotations: Float32Array;
  /** count x 3, in heights of the hips at rest; null: the hips stay where they rest. */
  hips: Float32Array | null;
  /** {expression: count} */
  weights: Readonly<Record<string, Float32Array>>;
  /** count x 2: yaw, pitch in radians */
  gaze: Float32Array | null;
}

/** One of them. */
export interface Frame {
  frames: Frames;
  index: number;
}

/** Turn frames about, in place, between the axes of VRM 0.x (facing -Z) and VRM 1.0 (facing +Z). */
export function turnAbout({ rotations, hips }: Frames): void {
  for (let i = 0; i < rotations.length; i += 4) negate(rotations, i);
  if (hips) for (let i = 0; i < hips.length; i += 3) negate(hips, i);
}

function negate(values: Float32Array, i: number): void {
  values[i] = -at(values, i);
  values[i + 2] = -at(values, i + 2);
}

const at = (values: Float32Array, i: number): number => values[i] as number;

const mix = (a: Float32Array, i: number, b: Float32Array, j: number, share: number): number =>
  at(a, i) + (at(b, j) - at(a, i)) * share;

const before = new Quaternion();
const after = new Quaternion();

/** Write the moment between two frames into `pose`: rotations by slerp, the rest linearly. `share` 0 is the first. */
export function showBetween(a: Frame, b: Frame, share: number, pose: Pose): void {
  pose.clear();
  const [from, to] = [a.frames, b.frames.bones.length === a.frames.bones.length ? b.frames : a.frames];
  const [i, j] = [a.index, to === b.frames ? b.index : a.index];
  from.bones.forEach((bone, k) => {
    before.fromArray(from.rotations, 4 * (i * from.bones.length + k));
    after.fromArray(to.rotations, 4 * (j * from.bones.length + k));
    pose.turn(bone).slerpQuaternions(before, after, share);
  });
  if (from.hips && to.hips) {
    const place = [0, 1, 2].map((k) => mix(from.hips!, 3 * i + k, to.hips!, 3 * j + k, share));
    pose.hips.fromArray(place);
  }
  for (const [name, values] of Object.entries(from.weights)) {
    pose.weights.set(name, mix(values, i, to.weights[name] ?? values, j, share));
  }
  if (from.gaze && to.gaze) {
    const [yaw, pitch] = [0, 1].map((k) => mix(from.gaze!, 2 * i + k, to.gaze!, 2 * j + k, share));
    pose.gaze = { yaw: yaw as number, pitch: pitch as number };
  }
}
