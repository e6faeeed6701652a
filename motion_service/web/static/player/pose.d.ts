import { Quaternion, Vector3 } from "three";
/** Where the eyes look, radians: positive to the figure's left, and down. */
export interface Gaze {
    yaw: number;
    pitch: number;
}
export declare class Pose {
    /** Local rotation of the normalised bones that the motion moves. */
    readonly turns: Map<string, Quaternion>;
    /** Place of the hips in heights of the hips at rest: (0, 1, 0) in the T-pose. */
    readonly hips: Vector3;
    /** Weights of expressions, 0 to 1. */
    readonly weights: Map<string, number>;
    gaze: Gaze | null;
    /** The rotation of a bone, to be written to. */
    turn(bone: string): Quaternion;
    /** The T-pose, with nothing moved. */
    clear(): this;
}
