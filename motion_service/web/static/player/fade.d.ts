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
     * Begin at `to`, the pose of a motion at this moment, when `from` is on the screen. How fast each moves is told by
     * `earlier`, which was there `before` seconds earlier, and by `later`, which comes `after` seconds later; 0: not known.
     */
    begin(from: Figure, earlier: Figure, before: number, to: Figure, later: Figure, after: number): void;
    /** Nothing more is carried over. */
    end(): void;
    /** Let time pass, none in the frame that it begins in, and put on `figure` what is still apart. */
    apply(figure: Figure, seconds: number): void;
}
