import type { GazeKey, PlaceKey, QuatKey, WeightKey } from "./answer.ts";
export interface Started {
    type: "started";
    session_id: string;
    fps: number;
    lead_sec: number;
    first_frame: number;
    revision: number;
    seed: number;
    generator: string;
    target: "vrm1" | "vrm0";
    rest_hips_height: number;
    bones: string[];
    prompt_plan: unknown;
    warnings: string[];
}
interface ChunkHead {
    type: "chunk";
    index: number;
    revision: number;
    first_frame: number;
    n: number;
    fps: number;
    generator: string;
    resume_token?: string;
}
/** Frames as keyframe lists, times in seconds of the stream. */
export interface JsonChunk extends ChunkHead {
    tracks: Record<string, QuatKey[]>;
    root: PlaceKey[];
    contacts: number[][];
    expressions?: Record<string, WeightKey[]>;
    look_at?: GazeKey[];
}
/** Frames as blocks of float32, little-endian. */
export interface BinaryChunk extends ChunkHead {
    bones: string[];
    rot: Uint8Array;
    root: Uint8Array;
    contacts: Uint8Array;
    expressions?: Record<string, Uint8Array>;
    look_at?: Uint8Array;
}
export type Chunk = JsonChunk | BinaryChunk;
export interface PromptApplied {
    type: "prompt_applied";
    from_frame: number;
    revision: number;
    t0: number;
    reason: "prompt" | "seek" | "stop" | "speak" | "state" | "interrupt";
    captions: string[];
    prompt_plan: unknown;
    warnings: string[];
    /** With `speak`. */
    speech?: Speech | null;
}
/** What `speak` adds to it, in seconds from t0. */
export interface Speech {
    seconds: number;
    phrases: {
        text: string;
        start: number;
        end: number;
    }[];
    beats: {
        t: number;
        strength: number;
    }[];
}
export interface Gap {
    type: "gap";
    from_frame: number;
    to_frame: number;
}
export interface Draining {
    type: "draining";
    resume_token: string;
}
export interface StreamProblem {
    type: "error";
    problem: {
        type?: string;
        title?: string;
        status?: number;
        detail?: string;
    };
}
export interface Stopped {
    type: "stopped";
    frames: number;
}
export type ServerMessage = Started | Chunk | PromptApplied | Gap | Draining | StreamProblem | Stopped;
/** What came over a socket, JSON as text or MessagePack as bytes. */
export declare function readMessage(data: string | ArrayBuffer): ServerMessage;
export {};
