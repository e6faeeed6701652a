import type { Figure } from "./puppet.ts";
export declare class Fade {
    private readonly place;
    private readonly speed;
    private readonly other;
    private seconds;
    private passed;
    constructor(size: number);
    get active(): boolean;
    /**
     * Begin at `to`, the first pose of a motion, in place of which `from` is on the screen. The poses `earlier` and
     * `later` tell how fast each moves: `earlier` was there `before` seconds ago, `later` will be in `after` seconds; 0:
     * not known.
     */
    begin(from: Figure, earlier: Figure, before: number, to: Figure, later: Figure, after: number): void;
    /** Nothing more is carried over. */
    end(): void;
    /** Let time pass, and put on `figure` what is still apart. */
    apply(figure: Figure, seconds: number): void;
}
