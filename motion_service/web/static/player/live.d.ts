import { type ServerMessage, type Started } from "./messages.ts";
import type { Pose } from "./pose.ts";
import type { Source } from "./source.ts";
/** What a stream can be asked for when it starts: docs/stream.md. */
export interface StartOptions {
    prompt?: string;
    provider?: "auto" | "mini" | "dip";
    seed?: number;
    guidance?: number;
    steps?: number;
    fps?: number;
    target?: "vrm1" | "vrm0";
    avatar?: string;
    encoding?: "json" | "msgpack";
    lead_sec?: number;
    root?: "free" | "bounded" | "in_place";
    foot_lock?: boolean;
    expressions?: boolean;
    fold?: boolean;
}
export interface LiveOptions extends StartOptions {
    /** One of the service's API keys, where it wants one. */
    key?: string;
    /** Every message of the server, after the stream has taken it in. */
    onMessage?: (message: ServerMessage) => void;
    onState?: (state: LiveState) => void;
}
/** `lost`: it will be taken up again. `ended`: it will not. */
export type LiveState = "connecting" | "running" | "lost" | "ended";
export interface LiveStatus {
    state: LiveState;
    /** The frame on the screen. */
    frame: number;
    /** Seconds of motion that are there and not yet shown. */
    ahead: number;
    /** Seconds for which the last frame had to stay because the next was not there. */
    held: number;
    /** Frames that were left out. */
    skipped: number;
    /** Seconds from the last text to its first frame on the screen; null: not there yet. */
    reaction: number | null;
}
export declare class LiveStream implements Source {
    readonly url: string;
    private readonly start;
    private readonly hooks;
    private readonly protocols;
    private state;
    private socket;
    private opening;
    private started;
    private token;
    private reel;
    private reopens;
    private paused;
    private failures;
    private sinceAck;
    private retry;
    private asked;
    private reaction;
    /** Connects at once. `url` of the service, or of its `/v1/motion/stream`; http and ws are the same here. */
    constructor(url: string | URL, { key, onMessage, onState, ...start }?: LiveOptions);
    get status(): LiveStatus;
    /** What the service said about the stream; null before it did. */
    get facts(): Started | null;
    /** Another text, from now, after what is made already, or at seconds of the stream. Empty: back to idle. */
    prompt(text: string, at?: "now" | "next" | number): void;
    /** Any other message of docs/stream.md ("speak", "state", ...). False: there is no connection to say it on. */
    tell<M extends {
        readonly type: string;
    }>(message: M): boolean;
    /** The screen stands still. */
    pause(): void;
    resume(): void;
    /** The end, at once or in a neutral stance after two seconds. */
    stop(to?: "idle"): void;
    /** The end, without a word. What has come is still shown. */
    close(): void;
    /** Whether the first frame is there. */
    get ready(): boolean;
    /** Nothing comes any more, and all that came was shown. */
    get over(): boolean;
    advance(seconds: number): void;
    sample(pose: Pose, ahead?: number): boolean;
    takeJoin(): boolean;
    private connect;
    private take;
    private onStarted;
    /** What an earlier connection brought is shown until the new one brings something. */
    private takeUp;
    private onApplied;
    private onClose;
    /** False: there is no connection to say it on. */
    private say;
    private onScreen;
    private enter;
    /** A page that nobody sees draws nothing: the service need not make what nobody will see. */
    private readonly onVisibility;
}
