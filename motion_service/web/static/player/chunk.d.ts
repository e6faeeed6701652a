import { type Frames } from "./frames.ts";
import type { Chunk } from "./messages.ts";
/** `target` and `height`, the hips' at rest in metres, are what `started` said. */
export declare function readChunk(chunk: Chunk, target: "vrm1" | "vrm0", height: number): Frames;
