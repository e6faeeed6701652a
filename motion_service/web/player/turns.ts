// Which motion belongs to the turn of the conversation that is on, and which comes too late.

/** What became of a motion: it plays, waits for its turn to begin, came after its turn, or was there before. */
export type Outcome = "playing" | "waiting" | "late" | "seen";

const REMEMBERED = 256;

export class Turns<M> {
  /** The turn that is on. */
  current: string | null = null;
  private waiting: { turn: string; motion: M } | null = null;
  private readonly past = new Remembered();
  private readonly seen = new Remembered();

  /** A turn begins, and with it the one before is over. Returns the motion that waited for it. */
  begin(turn: string): M | null {
    if (turn === this.current || this.past.has(turn)) return null;
    if (this.current !== null) this.past.add(this.current);
    this.current = turn;
    if (this.waiting?.turn !== turn) return null;
    const { motion } = this.waiting;
    this.waiting = null;
    return motion;
  }

  /** The turn that is on is over, and so is one whose motion waits: what still comes for them is late. */
  end(): void {
    for (const turn of [this.current, this.waiting?.turn]) if (turn != null) this.past.add(turn);
    this.current = this.waiting = null;
  }

  /** Take a motion of a turn; `id` tells it from others. Only the latest one waits. */
  offer(turn: string, id: string, motion: M): Outcome {
    if (this.past.has(turn)) return "late";
    if (!this.seen.add(`${turn} ${id}`)) return "seen";
    if (turn === this.current) return "playing";
    this.waiting = { turn, motion };
    return "waiting";
  }
}

/** The newest of what was added. */
class Remembered {
  private readonly entries = new Set<string>();

  has(entry: string): boolean {
    return this.entries.has(entry);
  }

  /** False: it was there. */
  add(entry: string): boolean {
    if (this.entries.has(entry)) return false;
    this.entries.add(entry);
    if (this.entries.size > REMEMBERED) this.entries.delete(this.entries.values().next().value as string);
    return true;
  }
}
