// Rings on the floor under ankles and toes that stand.
import { Group, Mesh, MeshBasicMaterial, RingGeometry, type Vector3 } from "three";

import { LEFT, RIGHT } from "./theme.ts";

/** The order of `metadata.contacts`. */
export const CONTACT_BONES = ["leftFoot", "leftToes", "rightFoot", "rightToes"] as const;
const STANDS = 0.5;

export class Marks {
  readonly object = new Group();
  private readonly geometry = new RingGeometry(0.042, 0.062, 28).rotateX(-Math.PI / 2);
  private readonly rings = CONTACT_BONES.map((bone) => {
    const color = bone.startsWith("left") ? LEFT : RIGHT;
    const material = new MeshBasicMaterial({ color, transparent: true, opacity: 0.9, depthTest: false });
    return new Mesh(this.geometry, material);
  });

  constructor() {
    this.object.visible = false;
    this.object.add(...this.rings);
    this.object.renderOrder = 5;
  }

  update(contacts: readonly number[] | null, position: (bone: string) => Vector3): void {
    this.rings.forEach((ring, i) => {
      ring.visible = (contacts?.[i] ?? 0) > STANDS;
      const { x, z } = position(CONTACT_BONES[i] as string);
      ring.position.set(x, 0.004, z);
    });
  }

  dispose(): void {
    this.geometry.dispose();
    for (const ring of this.rings) ring.material.dispose();
  }
}
