/**
 * Plays motion of the motion service on a VRM avatar of three-vrm: answers of `/v1/motion/generate` and live streams,
 * on VRM 0.x and 1.0 alike, always going on from the pose on the screen.
 *
 * ```ts
 * const player = new MotionPlayer(vrm);
 * player.play(await (await fetch("/v1/motion/generate", ...)).json());
 * player.follow(new LiveStream("/v1/motion/stream", { prompt: "a person walks" }));
 * // in the render loop: mixer?.update(dt); player.update(dt); vrm.update(dt);
 * ```
 *
 * @packageDocumentation
 */
export type { Answer, GazeKey, Motion, PlaceKey, QuatKey, WeightKey } from "./answer.ts";
export { readAnswer } from "./answer.ts";
export { LiveStream, type LiveOptions, type LiveState, type LiveStatus, type StartOptions } from "./live.ts";
export type * from "./messages.ts";
export type { Playback, PlaybackOptions } from "./playback.ts";
export { MotionPlayer, type PlayerOptions, type PlayOptions } from "./player.ts";
export type { Avatar } from "./puppet.ts";
export type { Outcome } from "./turns.ts";
/** Of this interface; the first number changes when something that was there no longer is. */
export declare const PLAYER_VERSION = "1.0.0";
