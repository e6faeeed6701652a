import { type Frames } from "./frames.ts";
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
    metadata?: {
        target?: string | null;
        rest_hips_height?: number | null;
        [name: string]: unknown;
    } | null;
}
/** Frames at a steady rate: frame i is at i / fps seconds. */
export interface Motion extends Frames {
    fps: number;
}
/** Read an answer. Throws a TypeError that says what is wrong with one that cannot be played. */
export declare function readAnswer(answer: Answer): Motion;
