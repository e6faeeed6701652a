// The frames of a live stream that are still to be shown, by number, and the one on the screen.
import { showBetween, type Frame, type Frames } from "./frames.ts";
import type { Pose } from "./pose.ts";

const FARTHEST = 2; // seconds of frames beyond the lead that may wait before the screen catches up

export class Reel {
  /** The frame on the screen, with the share of the next one. */
  head: number;
  /** Frames that were left out: gaps, and what was passed over to catch up. */
  skipped = 0;
  /** Seconds for which the last frame was held because the next one was not there. */
  held = 0;
  private readonly frames = new Map<number, Frame>();
  private newest = -1;
  private joins = true;

  /** `lead`: seconds of motion that the server sends ahead of the screen. */
  constructor(
    readonly fps: number,
    readonly lead: number,
    firstFrame = 0,
    public revision = 0,
  ) {
    this.head = firstFrame;
  }

  /** Seconds of motion that are there and not yet shown. */
  get ahead(): number {
    return Math.max(0, this.newest - this.head) / this.fps;
  }

  /** Whether there is something to show. */
  get ready(): boolean {
    return this.frames.has(Math.floor(this.head));
  }

  /** Take the frames of a chunk; those of an older revision are of no use any more. */
  put(frames: Frames, first: number, revision: number): void {
    if (revision < this.revision) return;
    const shown = Math.floor(this.head);
    for (let index = 0; index < frames.count; index++) {
      if (first + index >= shown) this.frames.set(first + index, { frames, index });
    }
    this.newest = Math.max(this.newest, first + frames.count - 1);
  }

  /** Every frame from `frame` on is replaced by those of `revision`, which follow. */
  replaceFrom(frame: number, revision: number): void {
    this.revision = revision;
    for (const number of this.frames.keys()) if (number >= frame) this.frames.delete(number);
    this.newest = Math.min(this.newest, frame - 1);
    if (frame <= this.head) this.joins = true; // it is on the screen
  }

  /** Another server, or the same one again, goes on at `frame`. */
  reopen(frame: number, revision: number): void {
    this.replaceFrom(frame, revision);
    if (frame <= this.head) this.head = frame;
  }

  /** Let time pass. Without a next frame the last one stays, and time with it. */
  advance(seconds: number): void {
    const wanted = this.ready ? this.head + seconds * this.fps : this.head;
    this.head = this.until(wanted);
    const waited = (wanted - this.head) / this.fps;
    if (waited > 0 || !this.ready) this.skipMissing();
    this.held += waited;
    if (this.ahead > this.lead + FARTHEST) this.jump(this.newest - Math.floor(this.lead * this.fps));
    for (const number of this.frames.keys()) if (number < Math.floor(this.head)) this.frames.delete(number);
  }

  sample(pose: Pose, ahead = 0): boolean {
    const at = this.head + ahead * this.fps;
    const share = at - Math.floor(at);
    const frame = this.frames.get(Math.floor(at));
    const next = share > 0 ? this.frames.get(Math.floor(at) + 1) : frame;
    if (!frame || !next) return false;
    showBetween(frame, next, share, pose);
    return true;
  }

  takeJoin(): boolean {
    const joins = this.joins;
    this.joins = false;
    return joins;
  }

  /** How far the head comes towards `wanted` without leaving out a frame. */
  private until(wanted: number): number {
    let frame = Math.floor(this.head);
    while (frame < wanted && this.frames.has(frame + 1)) frame++;
    return Math.min(wanted, Math.max(frame, this.head));
  }

  /** Frames that will never come are passed over. */
  private skipMissing(): void {
    const later = [...this.frames.keys()].filter((number) => number > this.head);
    if (later.length > 0) this.jump(Math.min(...later));
  }

  private jump(frame: number): void {
    this.skipped += frame - Math.floor(this.head) - 1;
    this.head = frame;
    this.joins = true;
  }
}
