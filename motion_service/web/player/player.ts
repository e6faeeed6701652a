// What is on the avatar at each moment: a motion, else a live stream or idle, always going on from the pose before.
import { readAnswer, type Answer } from "./answer.ts";
import { Face } from "./face.ts";
import { Fade } from "./fade.ts";
import type { LiveStream } from "./live.ts";
import { Playback, type PlaybackOptions } from "./playback.ts";
import { Pose } from "./pose.ts";
import { Puppet, type Avatar, type Figure } from "./puppet.ts";
import type { Source } from "./source.ts";
import { Stance } from "./stance.ts";
import { Turns, type Outcome } from "./turns.ts";
import { Underlay } from "./underlay.ts";

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

/** A motion on its way to the screen. */
interface Order {
  playback: Playback;
  cut: boolean;
}

const PEEK = 1 / 60; // seconds ahead of the first pose of a motion, to see how fast it is

export class MotionPlayer {
  private readonly puppet: Puppet;
  private readonly face: Face;
  private readonly fade: Fade;
  private readonly turns = new Turns<Order>();
  private readonly pose = new Pose();
  private readonly next: Figure; // the pose of this moment
  private readonly later: Figure; // and of a moment later
  private readonly shown: Figure; // what is on the screen
  private readonly earlier: Figure; // and what was before that, `shownFor` seconds earlier
  private shownFor = 0;
  private idle: Source;
  private stream: LiveStream | null = null;
  private motion: Playback | null = null;
  private current: Source | null = null;
  private cuts: boolean;

  constructor(avatar: Avatar, { idle = "stand" }: PlayerOptions = {}) {
    this.puppet = new Puppet(avatar);
    this.face = new Face(avatar);
    this.fade = new Fade(this.puppet.bones.length);
    [this.next, this.later] = [this.puppet.newFigure(), this.puppet.newFigure()];
    [this.shown, this.earlier] = [this.puppet.newFigure(), this.puppet.newFigure()];
    this.puppet.read(this.shown);
    this.cuts = this.puppet.rests; // nobody wants to see how the arms come down
    this.idle = this.readIdle(idle);
  }

  // --- what to play ----------------------------------------------------------------------------------------------------

  /** What is played, to look at, pause, seek or speed up; null: the stream or idle. */
  get playing(): Playback | null {
    return this.motion;
  }

  /** The live stream that is followed. */
  get following(): LiveStream | null {
    return this.stream;
  }

  /** Whether the pose before is still being left behind. */
  get fading(): boolean {
    return this.fade.active;
  }

  /**
   * Play an answer from the pose on the screen. With `turn` it plays when that turn is on, waits when it has not begun,
   * and is dropped when the turn is over or the same answer was there before. Throws a TypeError for what is no motion.
   */
  play(answer: Answer, { turn, cut = false, ...options }: PlayOptions = {}): Outcome {
    const order = { playback: new Playback(readAnswer(answer), options), cut };
    const outcome = turn === undefined ? "playing" : this.turns.offer(turn, answer.job_id ?? "", order);
    if (outcome === "playing") this.put(order);
    return outcome;
  }

  /** A turn of the conversation begins: motion of earlier ones is late from now on, and what waited for it plays. */
  beginTurn(turn: string): void {
    const order = this.turns.begin(turn);
    if (order) this.put(order);
  }

  /** Back to idle at once: the user spoke, or the reply is over. What still comes for this turn is late. */
  interrupt(): void {
    this.turns.end();
    this.motion = null;
    this.stream?.prompt("");
  }

  /** Show a live stream wherever no motion is played, from its first frame on; null: idle again. */
  follow(stream: LiveStream | null): void {
    this.stream = stream;
  }

  /** Another idle, faded into. */
  setIdle(idle: "stand" | "mixer" | Answer): void {
    this.idle = this.readIdle(idle);
  }

  private put({ playback, cut }: Order): void {
    this.motion = playback;
    this.cuts ||= cut;
  }

  // --- the screen ------------------------------------------------------------------------------------------------------

  /** Once a frame, after `mixer.update` if there is a mixer, and before `vrm.update`. `seconds` since the last time. */
  update(seconds: number): void {
    for (const source of [this.idle, this.stream, this.motion]) source?.advance(seconds);
    const began = this.choose();
    if (this.lay(this.next, 0)) {
      const joins = this.current?.takeJoin() || began;
      if (joins) this.join();
      this.fade.apply(this.next, joins ? 0 : seconds);
      copyFigure(this.shown, this.earlier);
      copyFigure(this.next, this.shown);
      this.face.show(this.pose, seconds);
    } else copyFigure(this.shown, this.earlier); // the next frames are not there yet: the pose stays
    this.shownFor = seconds;
    this.puppet.write(this.shown);
  }

  /** Take what there is to show: a motion, else the stream, else idle. True: it is another one than before. */
  private choose(): boolean {
    if (this.motion?.over) this.motion = null;
    if (this.stream?.over) this.stream = null;
    const before = this.current;
    const stream = this.stream && (this.stream === before || this.stream.ready) ? this.stream : null;
    this.current = this.motion ?? stream ?? this.idle;
    return this.current !== before;
  }

  /** Write what is to be seen now, or `ahead` seconds later, into `figure`. False: it is not there. */
  private lay(figure: Figure, ahead: number): boolean {
    this.idle.sample(this.pose, ahead);
    this.puppet.pose(this.pose, this.puppet.reset(figure));
    if (this.current === this.idle || this.current === null) return true;
    if (!this.current.sample(this.pose, ahead)) return false;
    this.puppet.pose(this.pose, figure);
    return true;
  }

  /** What is on the screen and what comes are apart: see to it that this does not show. */
  private join(): void {
    if (this.cuts) this.fade.end();
    else {
      const ahead = this.lay(this.later, PEEK) ? PEEK : 0;
      this.fade.begin(this.shown, this.earlier, this.shownFor, this.next, this.later, ahead);
    }
    this.cuts = false;
  }

  private readIdle(idle: "stand" | "mixer" | Answer): Source {
    if (idle === "mixer") return new Underlay(this.puppet);
    return idle === "stand" ? new Stance() : new Playback(readAnswer(idle), { loop: true });
  }
}

function copyFigure(from: Figure, to: Figure): void {
  to.turns.forEach((turn, i) => turn.copy(from.turns[i]!));
  to.hips.copy(from.hips);
}
