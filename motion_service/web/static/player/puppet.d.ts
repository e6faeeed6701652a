import type { VRM } from "@pixiv/three-vrm";
import { Quaternion, Vector3 } from "three";
import type { Pose } from "./pose.ts";
/** What is used of a `VRM` of three-vrm. */
export type Avatar = Pick<VRM, "meta" | "humanoid"> & Partial<Pick<VRM, "expressionManager" | "lookAt">>;
/** A pose of one avatar: VRM 1.0 axes, local rotations of `Puppet.bones` in their order, hips in metres. */
export interface Figure {
    turns: Quaternion[];
    hips: Vector3;
}
export declare class Puppet {
    /** Height of its hips at rest, metres. */
    readonly restHeight: number;
    private readonly joints;
    private readonly hips;
    private readonly backwards;
    private readonly written;
    private readonly foreign;
    constructor(avatar: Avatar);
    get bones(): string[];
    /** The T-pose, to be written to. */
    newFigure(): Figure;
    /** Whether the avatar is in its T-pose, as it is after loading. */
    get rests(): boolean;
    /** What is on the bones now. */
    read(out: Figure): void;
    write(figure: Figure): void;
    /**
     * Note what others have put on the bones since `write`. A mixer writes only what changes: a bone that is as we left
     * it is to be where they had it last.
     */
    noteForeign(): void;
    /** What others had on the bones, as a pose. */
    readForeign(pose: Pose): void;
    /** The T-pose again. */
    reset(figure: Figure): Figure;
    /**
     * Write a motion's pose into `figure`, which holds what is to be seen where the motion has nothing to say: a motion
     * that turns the hips is of the whole body and leaves alone only details; another one leaves alone all it lacks.
     */
    pose(pose: Pose, figure: Figure): void;
    private turnAxes;
}
