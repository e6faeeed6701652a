// An answer of the service, as JSON, to frames.
import { Quaternion } from "three";

import { turnAbout, type Frames } from "./frames.ts";

export interface TimeKey {
  t: number;
}
export interface QuatKey extends TimeKey {
  x: number;
  y: number;
  z: number;
  w: number;
}
export interface PlaceKey extends TimeKey {
  x: number;
  y: number;
  z: number;
}
export interface WeightKey extends TimeKey {
  weight: number;
}
export interface GazeKey extends TimeKey {
  yaw: number;
  pitch: number;
}

/** What is read of an answer (`MotionResponse` of the wire); everything else in it is left alone. */
export interface Answer {
  tracks: Readonly<Record<string, readonly QuatKey[]>>;
  /** Absent: the hips stay where they rest. */
  root_position?: readonly PlaceKey[] | null;
  rootPosition?: readonly PlaceKey[] | null;
  expressions?: Readonly<Record<string, readonly WeightKey[]>> | null;
  look_at?: readonly GazeKey[] | null;
  fps?: number | null;
  /** Tells the answers of a turn apart. */
  job_id?: string | null;
  metadata?: { target?: string | null; rest_hips_height?: number | null; [name: string]: unknown } | null;
}

/** Frames at a steady rate: frame i is at i / fps seconds. */
export interface Motion extends Frames {
  fps: number;
}

const DEFAULT_FPS = 20;
const HIPS_HEIGHT = 0.95; // metres: of the service's own body, for answers that do not say theirs

/** Read an answer. Throws a TypeError that says what is wrong with one that cannot be played. */
export function readAnswer(answer: Answer): Motion {
  const tracks = Object.entries(answer.tracks ?? {}).filter(([, keys]) => keys.length > 0);
  if (tracks.length === 0) throw new TypeError("this answer has no tracks");
  const fps = answer.fps && answer.fps > 0 ? answer.fps : DEFAULT_FPS;
  const root = answer.root_position ?? answer.rootPosition ?? [];
  const last = Math.max(...[...tracks.map(([, keys]) => keys), root].map((keys) => keys[keys.length - 1]?.t ?? 0));
  const count = Math.round(last * fps) + 1;
  const motion: Motion = {
    fps,
    count,
    bones: tracks.map(([bone]) => bone),
    rotations: new Float32Array(4 * count * tracks.length),
    hips: root.length > 0 ? readPlaces(root, count, fps, answer.metadata?.rest_hips_height || HIPS_HEIGHT) : null,
    weights: Object.fromEntries(
      Object.entries(answer.expressions ?? {}).map(([name, keys]) => [name, readNumbers(keys, ["weight"], count, fps)]),
    ),
    gaze: answer.look_at?.length ? readNumbers(answer.look_at, ["yaw", "pitch"], count, fps) : null,
  };
  tracks.forEach(([, keys], k) => readTurns(keys, motion, k));
  if (!motion.rotations.every(Number.isFinite)) throw new TypeError("this answer has keys without numbers");
  if (answer.metadata?.target === "vrm0") turnAbout(motion);
  return motion;
}

/** Call `visit` for every frame with the keys around its time and how far it is from the first to the second. */
function walk<K extends TimeKey>(
  keys: readonly K[],
  count: number,
  fps: number,
  visit: (frame: number, before: K, after: K, share: number) => void,
): void {
  let next = 0;
  for (let frame = 0; frame < count; frame++) {
    const time = frame / fps + 1e-4; // times come rounded
    while (next < keys.length && (keys[next] as K).t <= time) next++;
    const before = keys[Math.max(0, next - 1)] as K;
    const after = keys[Math.min(keys.length - 1, next)] as K;
    const share = after.t > before.t ? (frame / fps - before.t) / (after.t - before.t) : 0;
    visit(frame, before, after, share * (after.t - before.t) < 1e-3 ? 0 : Math.min(share, 1));
  }
}

function readTurns(keys: readonly QuatKey[], motion: Motion, bone: number): void {
  const [a, b] = [new Quaternion(), new Quaternion()];
  walk(keys, motion.count, motion.fps, (frame, before, after, share) => {
    a.set(before.x, before.y, before.z, before.w).normalize();
    if (share > 0) a.slerp(b.set(after.x, after.y, after.z, after.w).normalize(), share);
    a.toArray(motion.rotations, 4 * (frame * motion.bones.length + bone));
  });
}

function readNumbers<N extends string>(
  keys: readonly (TimeKey & Record<N, number>)[],
  names: readonly N[],
  count: number,
  fps: number,
): Float32Array {
  const values = new Float32Array(count * names.length);
  walk(keys, count, fps, (frame, before, after, share) => {
    names.forEach((name, k) => {
      values[frame * names.length + k] = before[name] + (after[name] - before[name]) * share;
    });
  });
  return values;
}

const readPlaces = (keys: readonly PlaceKey[], count: number, fps: number, height: number): Float32Array =>
  readNumbers(keys, ["x", "y", "z"], count, fps).map((value) => value / height);
