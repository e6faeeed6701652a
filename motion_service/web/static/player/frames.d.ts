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
export declare function turnAbout({ rotations, hips }: Frames): void;
/** Write the moment between two frames into `pose`: rotations by slerp, the rest linearly. `share` 0 is the first. */
export declare function showBetween(a: Frame, b: Frame, share: number, pose: Pose): void;
