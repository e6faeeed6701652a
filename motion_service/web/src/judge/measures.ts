// What is plotted of a motion: how high the feet are, how fast they go, and how much the body jerks.
import type { Motion } from "../../player/answer.ts";
import { motionToPositions, type Body } from "./kinematics.ts";

/** One value a frame. */
export type Series = Float32Array;

export interface Measures {
  fps: number;
  count: number;
  /** Height of the lower of ankle and toe above where it stands, cm: left, right. */
  height: [Series, Series];
  /** Speed of the toe over the floor, cm/s: left, right. */
  speed: [Series, Series];
  /** Mean size of the third difference of positions over the bones, m/s^3. */
  jerk: Series;
}

const DETAIL = /Thumb|Index|Middle|Ring|Little|Eye|jaw/;

export function measure(motion: Motion, body: Body): Measures {
  const { count, fps } = motion;
  const places = motionToPositions(motion, body);
  const joint = (bone: string): number => body.findIndex((other) => other.bone === bone);
  const value = (frame: number, j: number, axis: number): number => places[3 * (frame * body.length + j) + axis] ?? 0;
  const feet = (["left", "right"] as const).map((side) => {
    const ankle = joint(`${side}Foot`);
    const toe = joint(`${side}Toes`) < 0 ? ankle : joint(`${side}Toes`);
    const above = (frame: number, j: number): number => value(frame, j, 1) - (body[j]?.height ?? 0);
    return {
      height: series(count, (i) => 100 * Math.min(above(i, ankle), above(i, toe))),
      speed: series(count, (i) => {
        const [a, b] = [Math.max(i - 1, 0), Math.min(i + 1, count - 1)];
        const way = Math.hypot(value(b, toe, 0) - value(a, toe, 0), value(b, toe, 2) - value(a, toe, 2));
        return b > a ? (100 * way * fps) / (b - a) : 0;
      }),
    };
  }) as [Record<"height" | "speed", Series>, Record<"height" | "speed", Series>];
  const bones = body.flatMap(({ bone }, j) => (DETAIL.test(bone) ? [] : [j]));
  const jerk = series(count, (i) => {
    if (count < 4) return 0;
    const a = Math.min(Math.max(i - 1, 0), count - 4);
    const third = (j: number, axis: number): number =>
      value(a + 3, j, axis) - 3 * value(a + 2, j, axis) + 3 * value(a + 1, j, axis) - value(a, j, axis);
    const sizes = bones.map((j) => Math.hypot(third(j, 0), third(j, 1), third(j, 2)));
    return (sizes.reduce((sum, size) => sum + size, 0) / Math.max(bones.length, 1)) * fps ** 3;
  });
  const [left, right] = feet;
  return { fps, count, height: [left.height, right.height], speed: [left.speed, right.speed], jerk };
}

const series = (count: number, at: (frame: number) => number): Series => Float32Array.from({ length: count }, (_, i) => at(i));
