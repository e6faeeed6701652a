// Expressions and gaze that a motion brings, where the avatar has them. The mouth is never among them.
import type { Pose } from "./pose.ts";
import type { Avatar } from "./puppet.ts";

const SPEED = 12; // per second: a weight goes from 0 to 1 in a twelfth of it
const DEGREES = 180 / Math.PI;

export class Face {
  private readonly shown = new Map<string, number>();
  private gazing = false;

  constructor(private readonly avatar: Avatar) {}

  /** Go towards what `pose` says; expressions that it no longer names go away. */
  show(pose: Pose | null, seconds: number): void {
    for (const name of pose?.weights.keys() ?? []) if (!this.shown.has(name)) this.shown.set(name, 0);
    for (const [name, value] of this.shown) {
      const wanted = pose?.weights.get(name);
      const step = SPEED * seconds;
      const next = value + Math.min(Math.max((wanted ?? 0) - value, -step), step);
      this.avatar.expressionManager?.setValue(name, next);
      if (wanted === undefined && next === 0) this.shown.delete(name);
      else this.shown.set(name, next);
    }
    this.look(pose);
  }

  /** An avatar whose page gave it something to look at goes on doing so. */
  private look(pose: Pose | null): void {
    const eyes = this.avatar.lookAt;
    if (!eyes || eyes.target) return;
    if (pose?.gaze) [eyes.yaw, eyes.pitch] = [pose.gaze.yaw * DEGREES, pose.gaze.pitch * DEGREES];
    else if (this.gazing) [eyes.yaw, eyes.pitch] = [0, 0];
    this.gazing = Boolean(pose?.gaze);
  }
}
