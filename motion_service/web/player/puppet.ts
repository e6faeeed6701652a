// The avatar as the player sees it: reads and writes its normalised bones, whatever its version, size and bones.
import type { VRM } from "@pixiv/three-vrm";
import { Quaternion, Vector3, type Object3D } from "three";

import { isDetail, PARENTS } from "./bones.ts";
import type { Pose } from "./pose.ts";

/** What is used of a `VRM` of three-vrm. */
export type Avatar = Pick<VRM, "meta" | "humanoid"> & Partial<Pick<VRM, "expressionManager" | "lookAt">>;

/** A pose of one avatar: VRM 1.0 axes, local rotations of `Puppet.bones` in their order, hips in metres. */
export interface Figure {
  turns: Quaternion[];
  hips: Vector3;
}

interface Joint {
  bone: string;
  node: Object3D;
  /** The bone and those above it that the avatar lacks, the lowest first: it turns for all of them. */
  stands: string[];
}

export class Puppet {
  /** Height of its hips at rest, metres. */
  readonly restHeight: number;
  private readonly joints: Joint[];
  private readonly hips: Object3D;
  private readonly backwards: boolean;
  private readonly written: Figure; // as it is on the bones, in their own axes
  private readonly foreign: Figure; // what others put there last

  constructor(avatar: Avatar) {
    this.backwards = avatar.meta.metaVersion === "0";
    const find = (bone: string) => avatar.humanoid.getNormalizedBoneNode(bone as "hips");
    this.joints = [...PARENTS.keys()].flatMap((bone) => {
      const node = find(bone);
      return node ? [{ bone, node, stands: standsFor(bone, (other) => find(other) !== null) }] : [];
    });
    const hips = find("hips");
    if (hips === null) throw new TypeError("this avatar has no hips");
    this.hips = hips;
    this.restHeight = avatar.humanoid.normalizedRestPose.hips?.position?.[1] ?? hips.position.y;
    [this.written, this.foreign] = [this.newFigure(), this.newFigure()];
    this.noteForeign();
  }

  get bones(): string[] {
    return this.joints.map(({ bone }) => bone);
  }

  /** The T-pose, to be written to. */
  newFigure(): Figure {
    return { turns: this.joints.map(() => new Quaternion()), hips: new Vector3(0, this.restHeight, 0) };
  }

  /** Whether the avatar is in its T-pose, as it is after loading. */
  get rests(): boolean {
    return this.joints.every(({ node }) => Math.abs(node.quaternion.w) > 1 - 1e-9);
  }

  /** What is on the bones now. */
  read(out: Figure): void {
    this.joints.forEach(({ node }, i) => this.turnAxes(out.turns[i]!.copy(node.quaternion)));
    this.turnAxes(out.hips.copy(this.hips.position));
  }

  write(figure: Figure): void {
    this.joints.forEach(({ node }, i) => {
      this.turnAxes(this.written.turns[i]!.copy(figure.turns[i]!));
      node.quaternion.copy(this.written.turns[i]!);
    });
    this.turnAxes(this.written.hips.copy(figure.hips));
    this.hips.position.copy(this.written.hips);
  }

  /**
   * Note what others have put on the bones since `write`. A mixer writes only what changes: a bone that is as we left
   * it is to be where they had it last.
   */
  noteForeign(): void {
    this.joints.forEach(({ node }, i) => {
      if (!node.quaternion.equals(this.written.turns[i]!)) this.foreign.turns[i]!.copy(node.quaternion);
    });
    if (!this.hips.position.equals(this.written.hips)) this.foreign.hips.copy(this.hips.position);
  }

  /** What others had on the bones, as a pose. */
  readForeign(pose: Pose): void {
    this.joints.forEach(({ bone }, i) => this.turnAxes(pose.turn(bone).copy(this.foreign.turns[i]!)));
    this.turnAxes(pose.hips.copy(this.foreign.hips).divideScalar(this.restHeight));
  }

  /** The T-pose again. */
  reset(figure: Figure): Figure {
    for (const turn of figure.turns) turn.identity();
    figure.hips.set(0, this.restHeight, 0);
    return figure;
  }

  /**
   * Write a motion's pose into `figure`, which holds what is to be seen where the motion has nothing to say: a motion
   * that turns the hips is of the whole body and leaves alone only details; another one leaves alone all it lacks.
   */
  pose(pose: Pose, figure: Figure): void {
    const whole = pose.turns.has("hips");
    this.joints.forEach(({ bone, stands }, i) => {
      const moved = stands.filter((name) => pose.turns.has(name));
      if (moved.length === 0 && (!whole || isDetail(bone))) return;
      const turn = figure.turns[i]!.identity();
      for (const name of moved) turn.premultiply(pose.turns.get(name)!);
    });
    if (whole) figure.hips.copy(pose.hips).multiplyScalar(this.restHeight);
  }

  private turnAxes(value: Quaternion | Vector3): void {
    if (!this.backwards) return;
    value.x = -value.x;
    value.z = -value.z;
  }
}

function standsFor(bone: string, has: (bone: string) => boolean): string[] {
  const stands = [bone];
  for (let above = PARENTS.get(bone); above && !has(above); above = PARENTS.get(above)) stands.push(above);
  return stands;
}
