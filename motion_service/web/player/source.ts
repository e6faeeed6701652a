// What can be shown on an avatar: something that goes on in time and has a pose at each moment.
import type { Pose } from "./pose.ts";

export interface Source {
  /** Nothing more comes. */
  readonly over: boolean;
  /** Let time pass. */
  advance(seconds: number): void;
  /** Write the pose of now, or of `ahead` seconds later. False: there is none yet; `pose` is as it was. */
  sample(pose: Pose, ahead?: number): boolean;
  /** Whether the pose of now does not go on from the one before; asking is taking note. */
  takeJoin(): boolean;
}
