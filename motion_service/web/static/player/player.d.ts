import { type Answer } from "./answer.ts";
import type { LiveStream } from "./live.ts";
import { Playback, type PlaybackOptions } from "./playback.ts";
import { type Avatar } from "./puppet.ts";
import { type Outcome } from "./turns.ts";
export interface PlayerOptions {
    /**
     * What the avatar does when nothing is played: stand and breathe ("stand"), an answer that is played round and round,
     * or what the page's own AnimationMixer puts on the bones before each `update` ("mixer").
     */
    idle?: "stand" | "mixer" | Answer;
}
export interface PlayOptions extends PlaybackOptions {
    /** The turn of the conversation that the motion belongs to; without one it plays at once and whatever was before. */
    turn?: string;
    /** Jump to the first pose instead of fading into it. */
    cut?: boolean;
}
export declare class MotionPlayer {
    private readonly puppet;
    private readonly face;
    private readonly fade;
    private readonly turns;
    private readonly pose;
    private readonly next;
    private readonly later;
    private readonly shown;
    private readonly earlier;
    private shownFor;
    private idle;
    private stream;
    private motion;
    private current;
    private cuts;
    constructor(avatar: Avatar, { idle }?: PlayerOptions);
    /** What is played, to look at, pause, seek or speed up; null: the stream or idle. */
    get playing(): Playback | null;
    /** The live stream that is followed. */
    get following(): LiveStream | null;
    /** Whether the pose before is still being left behind. */
    get fading(): boolean;
    /**
     * Play an answer from the pose on the screen. With `turn` it plays when that turn is on, waits when it has not begun,
     * and is dropped when the turn is over or the same answer was there before. Throws a TypeError for what is no motion.
     */
    play(answer: Answer, { turn, cut, ...options }?: PlayOptions): Outcome;
    /** A turn of the conversation begins: motion of earlier ones is late from now on, and what waited for it plays. */
    beginTurn(turn: string): void;
    /** Back to idle at once: the user spoke, or the reply is over. What still comes for this turn is late. */
    interrupt(): void;
    /** Show a live stream wherever no motion is played, from its first frame on; null: idle again. */
    follow(stream: LiveStream | null): void;
    /** Another idle, faded into. */
    setIdle(idle: "stand" | "mixer" | Answer): void;
    private put;
    /** Once a frame, after `mixer.update` if there is a mixer, and before `vrm.update`. `seconds` since the last time. */
    update(seconds: number): void;
    /** Take what there is to show: a motion, else the stream, else idle. True: it is another one than before. */
    private choose;
    /** Write what is to be seen now, or `ahead` seconds later, into `figure`. False: it is not there. */
    private lay;
    /** What is on the screen and what comes are apart: see to it that this does not show. */
    private join;
    private readIdle;
}
