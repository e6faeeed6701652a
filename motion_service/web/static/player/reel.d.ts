import { type Frames } from "./frames.ts";
import type { Pose } from "./pose.ts";
export declare class Reel {
    readonly fps: number;
    readonly lead: number;
    revision: number;
    /** The frame on the screen, with the share of the next one. */
    head: number;
    /** Frames that were left out: gaps, and what was passed over to catch up. */
    skipped: number;
    /** Seconds for which the last frame was held because the next one was not there. */
    held: number;
    private readonly frames;
    private newest;
    private joins;
    /** `lead`: seconds of motion that the server sends ahead of the screen. */
    constructor(fps: number, lead: number, firstFrame?: number, revision?: number);
    /** Seconds of motion that are there and not yet shown. */
    get ahead(): number;
    /** Whether there is something to show. */
    get ready(): boolean;
    /** Take the frames of a chunk; those of an older revision are of no use any more. */
    put(frames: Frames, first: number, revision: number): void;
    /** Every frame from `frame` on is replaced by those of `revision`, which follow. */
    replaceFrom(frame: number, revision: number): void;
    /** Another server, or the same one again, goes on at `frame`. */
    reopen(frame: number, revision: number): void;
    /** Let time pass. Without a next frame the last one stays, and time with it. */
    advance(seconds: number): void;
    sample(pose: Pose, ahead?: number): boolean;
    takeJoin(): boolean;
    /** How far the head comes towards `wanted` without leaving out a frame. */
    private until;
    /** Frames that will never come are passed over. */
    private skipMissing;
    private jump;
}
