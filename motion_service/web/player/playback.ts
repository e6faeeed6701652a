// A motion being played: its time, speed and end.
import type { Motion } from "./answer.ts";
import { showBetween } from "./frames.ts";
import type { Pose } from "./pose.ts";
import type { Source } from "./source.ts";

export interface PlaybackOptions {
  /** Begin again at the end. */
  loop?: boolean;
  /** Stay in the last pose instead of going back to idle. */
  hold?: boolean;
  /** 1 is as fast as it was made. */
  speed?: number;
  /** False shows only the frames that there are, without moments between them. */
  interpolate?: boolean;
}

const SEAM = 5; // rad/s: from its last frame to its first a motion that was made to be looped is no faster

export class Playback implements Source {
  loop: boolean;
  hold: boolean;
  speed: number;
  interpolate: boolean;
  paused = false;
  /** Where it is, seconds. */
  time = 0;
  /** How long a round takes, seconds: all frames have their time, the last one only where it leads into the first. */
  readonly duration: number;
  private readonly seamless: boolean;
  private joins = false;

  constructor(
    readonly motion: Motion,
    { loop = false, hold = false, speed = 1, interpolate = true }: PlaybackOptions = {},
  ) {
    this.loop = loop;
    this.hold = hold;
    this.speed = speed;
    this.interpolate = interpolate;
    this.seamless = loop && seam(motion) * motion.fps < SEAM;
    this.duration = (motion.count - (this.seamless ? 0 : 1)) / motion.fps;
  }

  get over(): boolean {
    return !this.loop && !this.hold && !this.paused && this.time >= this.duration;
  }

  /** Number of the frame on the screen. */
  get frame(): number {
    return Math.min(Math.floor(this.time * this.motion.fps + 1e-6), this.motion.count - 1);
  }

  advance(seconds: number): void {
    if (this.paused) return;
    const time = this.time + seconds * this.speed;
    if (this.loop && this.duration > 0 && time >= this.duration) {
      this.time = time % this.duration;
      this.joins ||= !this.seamless;
    } else this.time = Math.min(time, this.duration);
  }

  /** Go to a moment. */
  seek(seconds: number): void {
    this.time = Math.min(Math.max(seconds, 0), this.duration);
  }

  sample(pose: Pose, ahead = 0): boolean {
    const { motion } = this;
    const last = motion.count - 1;
    const at = Math.min(this.time + ahead * this.speed, this.duration) * motion.fps;
    const index = Math.min(Math.floor(at + 1e-6), last);
    const next = index < last ? index + 1 : this.seamless ? 0 : last;
    const share = this.interpolate ? Math.min(Math.max(at - index, 0), 1) : 0;
    showBetween({ frames: motion, index }, { frames: motion, index: next }, share, pose);
    return true;
  }

  takeJoin(): boolean {
    const joins = this.joins;
    this.joins = false;
    return joins;
  }
}

/** Largest angle between a bone's last and first rotation, radians. */
function seam({ rotations, bones, count }: Motion): number {
  const end = 4 * bones.length * (count - 1);
  let least = 1;
  for (let k = 0; k < 4 * bones.length; k += 4) {
    let cosine = 0;
    for (let i = k; i < k + 4; i++) cosine += (rotations[i] as number) * (rotations[end + i] as number);
    least = Math.min(least, Math.abs(cosine));
  }
  return 2 * Math.acos(Math.min(least, 1));
}
