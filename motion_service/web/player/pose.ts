// One moment of a motion, whatever it is shown on: VRM 1.0 axes, the figure's size taken out.
import { Quaternion, Vector3 } from "three";

/** Where the eyes look, radians: positive to the figure's left, and down. */
export interface Gaze {
  yaw: number;
  pitch: number;
}

export class Pose {
  /** Local rotation of the normalised bones that the motion moves. */
  readonly turns = new Map<string, Quaternion>();
  /** Place of the hips in heights of the hips at rest: (0, 1, 0) in the T-pose. */
  readonly hips = new Vector3(0, 1, 0);
  /** Weights of expressions, 0 to 1. */
  readonly weights = new Map<string, number>();
  gaze: Gaze | null = null;

  /** The rotation of a bone, to be written to. */
  turn(bone: string): Quaternion {
    let turn = this.turns.get(bone);
    if (turn === undefined) this.turns.set(bone, (turn = new Quaternion()));
    return turn;
  }

  /** The T-pose, with nothing moved. */
  clear(): this {
    this.turns.clear();
    this.weights.clear();
    this.hips.set(0, 1, 0);
    this.gaze = null;
    return this;
  }
}
