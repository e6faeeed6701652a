import type { Pose } from "./pose.ts";
import type { Avatar } from "./puppet.ts";
export declare class Face {
    private readonly avatar;
    private readonly shown;
    private gazing;
    constructor(avatar: Avatar);
    /** Go towards what `pose` says; expressions that it no longer names go away. */
    show(pose: Pose | null, seconds: number): void;
    /** An avatar whose page gave it something to look at goes on doing so. */
    private look;
}
