// Where the bones of an avatar are in each frame of a motion: forward kinematics on its normalised skeleton.
import type { VRM } from "@pixiv/three-vrm";
import { Quaternion, Vector3 } from "three";

import type { Motion } from "../../player/answer.ts";
import { PARENTS } from "../../player/bones.ts";

interface Joint {
  bone: string;
  /** Index of the joint it hangs on; -1: the hips hang on nothing. */
  parent: number;
  /** From there at rest, metres. */
  offset: Vector3;
  /** Height at rest, metres. */
  height: number;
  /** Itself and the bones above that the avatar lacks: it turns for all of them. */
  turns: string[];
}

export type Body = readonly Joint[];

/** The skeleton of an avatar in VRM 1.0 axes. */
export function readBody(vrm: VRM): Body {
  const joints: Joint[] = [];
  const backwards = vrm.meta.metaVersion === "0";
  for (const [bone, above] of PARENTS) {
    const node = vrm.humanoid.getNormalizedBoneNode(bone as "hips");
    if (!node) continue;
    const turns = [bone];
    let ancestor = above;
    while (ancestor && !joints.some((joint) => joint.bone === ancestor)) {
      turns.push(ancestor);
      ancestor = PARENTS.get(ancestor) ?? null;
    }
    const rest = vrm.humanoid.normalizedRestPose[bone as "hips"]?.position;
    const offset = rest ? new Vector3(...rest) : node.position.clone();
    if (backwards) offset.set(-offset.x, offset.y, -offset.z);
    const parent = joints.findIndex((joint) => joint.bone === ancestor);
    const height = offset.y + (joints[parent]?.height ?? 0);
    joints.push({ bone, parent, offset, height, turns });
  }
  return joints;
}

/** Positions (frames x joints x 3) in metres. */
export function motionToPositions(motion: Motion, body: Body): Float32Array {
  const { count, bones, rotations, hips } = motion;
  const places = new Float32Array(count * body.length * 3);
  const worlds = body.map(() => new Quaternion());
  const at = body.map(() => new Vector3());
  const columns = body.map(({ turns }) => turns.map((bone) => bones.indexOf(bone)).filter((column) => column >= 0));
  const turn = new Quaternion();
  const restHeight = body[0]?.height ?? 1;
  for (let frame = 0; frame < count; frame++) {
    body.forEach(({ parent, offset }, j) => {
      const world = worlds[j]!.identity();
      for (const column of columns[j]!) world.premultiply(turn.fromArray(rotations, 4 * (frame * bones.length + column)));
      if (parent < 0) {
        if (hips) at[j]!.fromArray(hips, 3 * frame).multiplyScalar(restHeight);
        else at[j]!.copy(offset);
      } else {
        at[j]!.copy(offset).applyQuaternion(worlds[parent]!).add(at[parent]!);
        world.premultiply(worlds[parent]!);
      }
      at[j]!.toArray(places, 3 * (frame * body.length + j));
    });
  }
  return places;
}
