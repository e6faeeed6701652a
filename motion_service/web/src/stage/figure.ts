// An avatar on a stage with its player, and what can be laid over it.
import { VRMLoaderPlugin, VRMUtils, type VRM } from "@pixiv/three-vrm";
import { Group, Vector3 } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

import { PARENTS } from "../../player/bones.ts";
import { MotionPlayer } from "../../player/player.ts";
import { Marks } from "./marks.ts";
import { Path } from "./path.ts";
import { Skeleton } from "./skeleton.ts";

export interface Overlays {
  skeleton: boolean;
  contacts: boolean;
  path: boolean;
}

export class Figure {
  readonly root = new Group();
  readonly player: MotionPlayer;
  readonly path = new Path();
  /** Contacts of the moment, 0 to 1: left ankle, left toe, right ankle, right toe; null: not known. */
  contacts: () => readonly number[] | null = () => null;
  private readonly skeleton: Skeleton;
  private readonly marks = new Marks();
  private readonly hips = new Vector3();

  private constructor(readonly vrm: VRM) {
    VRMUtils.rotateVRM0(vrm); // faces +Z like all others
    vrm.scene.traverse((object) => {
      object.frustumCulled = false;
      object.castShadow = true;
    });
    this.player = new MotionPlayer(vrm);
    this.skeleton = new Skeleton([...PARENTS].flatMap(([bone, parent]) => this.segment(bone, parent)));
    this.root.add(vrm.scene, this.skeleton.object, this.marks.object, this.path.object);
    this.update(0);
  }

  /** Reads a .vrm file. Throws what the loader throws. */
  static async load(file: ArrayBuffer): Promise<Figure> {
    const loader = new GLTFLoader().register((parser) => new VRMLoaderPlugin(parser));
    const gltf = await loader.parseAsync(file, "");
    const vrm = gltf.userData.vrm as VRM | undefined;
    if (!vrm) throw new TypeError("this file holds no VRM avatar");
    return new Figure(vrm);
  }

  /** Bones from one joint to the next that the avatar has. */
  private segment(bone: string, parent: string | null): { bone: string; from: () => Vector3; to: () => Vector3 }[] {
    let above = parent;
    while (above && !this.has(above)) above = PARENTS.get(above) ?? null;
    if (!above || !this.has(bone)) return [];
    const start = above;
    return [{ bone, from: () => this.position(start), to: () => this.position(bone) }];
  }

  private has(bone: string): boolean {
    return this.vrm.humanoid.getRawBoneNode(bone as "hips") !== null;
  }

  /** Where a bone begins on the screen, metres in the world. Zero for one that the avatar lacks. */
  position(bone: string, out = new Vector3()): Vector3 {
    return this.vrm.humanoid.getRawBoneNode(bone as "hips")?.getWorldPosition(out) ?? out.set(0, 0, 0);
  }

  /** All of them. */
  positions(): Record<string, [number, number, number]> {
    const bones = [...PARENTS.keys()].filter((bone) => this.has(bone));
    return Object.fromEntries(bones.map((bone) => [bone, this.position(bone).toArray()]));
  }

  get place(): Vector3 {
    return this.position("hips", this.hips);
  }

  setOverlays({ skeleton, contacts, path }: Overlays): void {
    this.skeleton.object.visible = skeleton;
    this.marks.object.visible = contacts;
    this.path.object.visible = path;
  }

  update(seconds: number): void {
    this.player.update(seconds);
    this.vrm.update(seconds);
    this.vrm.scene.updateMatrixWorld();
    if (this.skeleton.object.visible) this.skeleton.update();
    if (this.marks.object.visible) this.marks.update(this.contacts(), (bone) => this.position(bone));
  }

  dispose(): void {
    this.root.removeFromParent();
    VRMUtils.deepDispose(this.vrm.scene);
    for (const part of [this.skeleton, this.marks, this.path]) part.dispose();
  }
}
