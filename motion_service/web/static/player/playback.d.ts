import type { Motion } from "./answer.ts";
import type { Pose } from "./pose.ts";
import type { Source } from "./source.ts";
export interface PlaybackOptions {
    /** Begin again at the end. */
    loop?: boolean;
    /** Stay in the last pose instead of going back to idle. */
    hold?: boolean;
    /** 1 is as fast as it was made. */
    speed?: number;
    /** False shows only the frames that there are, without moments between them. */
    interpolate?: boolean;
}
export declare class Playback implements Source {
    readonly motion: Motion;
    loop: boolean;
    hold: boolean;
    speed: number;
    interpolate: boolean;
    paused: boolean;
    /** Where it is, seconds. */
    time: number;
    /** How long a round takes, seconds: all frames have their time, the last one only where it leads into the first. */
    readonly duration: number;
    private readonly seamless;
    private joins;
    constructor(motion: Motion, { loop, hold, speed, interpolate }?: PlaybackOptions);
    get over(): boolean;
    /** Number of the frame on the screen. */
    get frame(): number;
    advance(seconds: number): void;
    /** Go to a moment. */
    seek(seconds: number): void;
    sample(pose: Pose, ahead?: number): boolean;
    takeJoin(): boolean;
}
