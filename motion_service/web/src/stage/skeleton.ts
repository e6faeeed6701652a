// Lines from joint to joint, seen through the body: left blue, right red.
import { BufferAttribute, BufferGeometry, LineBasicMaterial, LineSegments, type Vector3 } from "three";

import { LEFT, MIDDLE, RIGHT } from "./theme.ts";

export interface Segment {
  bone: string;
  from: () => Vector3;
  to: () => Vector3;
}

export class Skeleton {
  readonly object: LineSegments;
  private readonly geometry = new BufferGeometry();
  private readonly places: BufferAttribute;

  constructor(private readonly segments: readonly Segment[]) {
    this.places = new BufferAttribute(new Float32Array(6 * segments.length), 3);
    const colours = segments.flatMap(({ bone }) => {
      const colour = bone.startsWith("left") ? LEFT : bone.startsWith("right") ? RIGHT : MIDDLE;
      return [...colour.toArray(), ...colour.toArray()];
    });
    this.geometry.setAttribute("position", this.places);
    this.geometry.setAttribute("color", new BufferAttribute(new Float32Array(colours), 3));
    const material = new LineBasicMaterial({ vertexColors: true, depthTest: false, transparent: true });
    this.object = new LineSegments(this.geometry, material);
    this.object.renderOrder = 10;
    this.object.frustumCulled = false;
    this.object.visible = false;
  }

  update(): void {
    this.segments.forEach(({ from, to }, i) => {
      this.places.setXYZ(2 * i, ...from().toArray());
      this.places.setXYZ(2 * i + 1, ...to().toArray());
    });
    this.places.needsUpdate = true;
  }

  dispose(): void {
    this.geometry.dispose();
    (this.object.material as LineBasicMaterial).dispose();
  }
}
