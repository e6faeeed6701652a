// What an avatar does when nobody gave it anything to do: it stands, arms hanging, and breathes.
import type { Pose } from "./pose.ts";
import type { Source } from "./source.ts";

// Left side, xyzw; the right side is its mirror image. The same as the service's own neutral pose.
const LEFT: readonly [string, number, number, number, number][] = [
  ["Shoulder", 0, 0, -0.0262, 0.9997],
  ["UpperArm", -0.0311, 0.0421, -0.594, 0.8028],
  ["LowerArm", 0, -0.1219, 0, 0.9925],
  ["UpperLeg", -0.0164, 0.0613, 0.0185, 0.9978],
  ["LowerLeg", 0.0349, 0, 0, 0.9994],
  ["Foot", -0.0174, -0.0009, -0.0174, 0.9997],
];
const HIPS_HEIGHT = 0.99895; // of the height at rest: the knees are a little bent
const BREATH = 4.2; // seconds
const DEPTH = 0.008; // radians, of half the angle of the chest

export class Stance implements Source {
  readonly over = false;
  private time = 0;

  advance(seconds: number): void {
    this.time = (this.time + seconds) % BREATH;
  }

  sample(pose: Pose): boolean {
    pose.clear();
    for (const [bone, x, y, z, w] of LEFT) {
      pose.turn(`left${bone}`).set(x, y, z, w).normalize();
      pose.turn(`right${bone}`).set(x, -y, -z, w).normalize();
    }
    const breath = DEPTH * Math.sin((2 * Math.PI * this.time) / BREATH);
    pose.turn("hips").identity();
    pose.turn("chest").set(-breath, 0, 0, 1).normalize();
    pose.turn("neck").set(breath, 0, 0, 1).normalize(); // the head stays level
    pose.hips.set(0, HIPS_HEIGHT, 0);
    return true;
  }

  takeJoin(): boolean {
    return false;
  }
}
