// From the pose on the screen into another motion without a pop: what is apart at the join is carried over and let go.
// The difference of each bone is a cubic that starts with the difference in place and in speed and ends with neither.
import { Quaternion, Vector3 } from "three";

import type { Figure } from "./puppet.ts";
import { fromRotationVector, toRotationVector } from "./rotation.ts";

const SHORTEST = 0.25; // seconds
const TURN_SPEED = Math.PI; // rad/s, of a difference that is let go
const KEPT_SPEED = 2.6; // rad/s, of a difference in speed that is carried over
const TRAVEL_SPEED = 1; // m/s, of both for the hips
const LONGEST_TRAVEL = 2; // seconds: from farther away it is faster
const PEAK = 1.5; // a cubic is at most so many times as fast as its mean
const FRAME = 1 / 50; // seconds of a fade in one frame at most: a slow screen gets no larger steps

/** A figure's difference to another one: rotation vectors in rad, hips in m. */
class Apart {
  readonly turns: Vector3[];
  readonly hips = new Vector3();
  private readonly parts: Vector3[];

  constructor(size: number) {
    this.turns = Array.from({ length: size }, () => new Vector3());
    this.parts = [...this.turns, this.hips];
  }

  /** Of `a` to `b`: a = this * b. */
  measure(a: Figure, b: Figure): this {
    this.turns.forEach((turn, i) => {
      quat.copy(b.turns[i]!).invert().premultiply(a.turns[i]!);
      toRotationVector(quat, turn);
    });
    this.hips.copy(a.hips).sub(b.hips);
    return this;
  }

  scale(factor: number): this {
    for (const part of this.parts) part.multiplyScalar(factor);
    return this;
  }

  /** Vectors are added, which is right for small turns and near enough for others. */
  add(other: Apart, factor: number): this {
    this.parts.forEach((part, i) => part.addScaledVector(other.parts[i]!, factor));
    return this;
  }

  /** As speeds: none faster than what is carried over. */
  clamp(): this {
    for (const turn of this.turns) turn.clampLength(0, KEPT_SPEED);
    this.hips.clampLength(0, TRAVEL_SPEED);
    return this;
  }

  /** The longest turn, rad. */
  get widest(): number {
    return Math.max(0, ...this.turns.map((turn) => turn.length()));
  }
}

const quat = new Quaternion();
const vector = new Vector3();

export class Fade {
  private readonly place: Apart;
  private readonly speed: Apart;
  private readonly other: Apart;
  private seconds = 0;
  private passed = 0;

  constructor(size: number) {
    [this.place, this.speed, this.other] = [new Apart(size), new Apart(size), new Apart(size)];
  }

  get active(): boolean {
    return this.passed < this.seconds;
  }

  /**
   * Begin at `to`, the pose of a motion at this moment, when `from` is on the screen. How fast each moves is told by
   * `earlier`, which was there `before` seconds earlier, and by `later`, which comes `after` seconds later; 0: not known.
   */
  begin(from: Figure, earlier: Figure, before: number, to: Figure, later: Figure, after: number): void {
    this.place.measure(from, to);
    this.speed.measure(from, earlier).scale(before > 0 ? 1 / before : 0);
    this.other.measure(later, to).scale(after > 0 ? 1 / after : 0);
    this.speed.clamp();
    this.place.add(this.speed, Math.min(before, FRAME)); // where it would be by now
    this.speed.add(this.other, -1).clamp();
    const turning = (PEAK * this.place.widest) / TURN_SPEED;
    const travelling = (PEAK * this.place.hips.length()) / TRAVEL_SPEED;
    this.seconds = Math.max(SHORTEST, turning, Math.min(travelling, LONGEST_TRAVEL));
    this.passed = 0;
  }

  /** Nothing more is carried over. */
  end(): void {
    this.seconds = this.passed = 0;
  }

  /** Let time pass, none in the frame that it begins in, and put on `figure` what is still apart. */
  apply(figure: Figure, seconds: number): void {
    this.passed += Math.min(seconds, FRAME);
    if (!this.active) return;
    const s = this.passed / this.seconds;
    const place = (2 * s - 3) * s * s + 1;
    const speed = ((s - 2) * s + 1) * s * this.seconds;
    figure.turns.forEach((turn, i) => {
      vector.copy(this.place.turns[i]!).multiplyScalar(place).addScaledVector(this.speed.turns[i]!, speed);
      turn.premultiply(fromRotationVector(vector, quat));
    });
    figure.hips.addScaledVector(this.place.hips, place).addScaledVector(this.speed.hips, speed);
  }
}
