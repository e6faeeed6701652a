// A chunk of a live stream to frames.
import { turnAbout, type Frames } from "./frames.ts";
import type { BinaryChunk, Chunk, JsonChunk } from "./messages.ts";

/** `target` and `height`, the hips' at rest in metres, are what `started` said. */
export function readChunk(chunk: Chunk, target: "vrm1" | "vrm0", height: number): Frames {
  const frames = "rot" in chunk ? readBinary(chunk) : readJson(chunk);
  frames.hips = frames.hips?.map((value) => value / height) ?? null;
  if (target === "vrm0") turnAbout(frames);
  return frames;
}

const floats = (bytes: Uint8Array): Float32Array => {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 ? bytes.slice() : bytes;
  return new Float32Array(buffer, byteOffset, byteLength / 4);
};

function readBinary({ n, bones, rot, root, expressions, look_at }: BinaryChunk): Frames {
  return {
    count: n,
    bones,
    rotations: floats(rot),
    hips: floats(root),
    weights: mapValues(expressions ?? {}, floats),
    gaze: look_at ? floats(look_at) : null,
  };
}

function readJson({ n, tracks, root, expressions, look_at }: JsonChunk): Frames {
  const bones = Object.keys(tracks);
  const rotations = new Float32Array(4 * n * bones.length);
  Object.values(tracks).forEach((keys, k) =>
    keys.forEach(({ x, y, z, w }, i) => rotations.set([x, y, z, w], 4 * (i * bones.length + k))),
  );
  return {
    count: n,
    bones,
    rotations,
    hips: Float32Array.from(root.flatMap(({ x, y, z }) => [x, y, z])),
    weights: mapValues(expressions ?? {}, (keys) => Float32Array.from(keys, (key) => key.weight)),
    gaze: look_at ? Float32Array.from(look_at.flatMap(({ yaw, pitch }) => [yaw, pitch])) : null,
  };
}

const mapValues = <A, B>(record: Record<string, A>, read: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, read(value)]));
