/** What became of a motion: it plays, waits for its turn to begin, came after its turn, or was there before. */
export type Outcome = "playing" | "waiting" | "late" | "seen";
export declare class Turns<M> {
    /** The turn that is on. */
    current: string | null;
    private waiting;
    private readonly past;
    private readonly seen;
    /** A turn begins, and with it the one before is over. Returns the motion that waited for it. */
    begin(turn: string): M | null;
    /** The turn that is on is over, and so is one whose motion waits: what still comes for them is late. */
    end(): void;
    /** Take a motion of a turn; `id` tells it from others. Only the latest one waits. */
    offer(turn: string, id: string, motion: M): Outcome;
}
