// The way of the hips over the floor, with a dot for each second.
import { BufferGeometry, Group, Line, LineBasicMaterial, Points, PointsMaterial, Vector3 } from "three";

const COLOUR = "#7c5cff";
const HEIGHT = 0.006; // metres above the floor
const TRAIL = 600; // places that a trail remembers

export class Path {
  readonly object = new Group();
  private readonly line = new Line(new BufferGeometry(), new LineBasicMaterial({ color: COLOUR }));
  private readonly dots = new Points(
    new BufferGeometry(),
    new PointsMaterial({ color: COLOUR, size: 5, sizeAttenuation: false }),
  );
  private trail: Vector3[] = [];

  constructor() {
    this.object.visible = false;
    this.object.add(this.line, this.dots);
    this.line.frustumCulled = this.dots.frustumCulled = false;
  }

  /** `places`: x and z of each frame, metres. */
  set(places: readonly (readonly [number, number])[], fps: number): void {
    const points = places.map(([x, z]) => new Vector3(x, HEIGHT, z));
    this.draw(points, points.filter((_, frame) => frame % Math.round(fps) === 0));
  }

  /** Go on from where the path ends: for motion that has no end. */
  extend({ x, z }: Vector3): void {
    const last = this.trail.at(-1);
    if (last && Math.hypot(x - last.x, z - last.z) < 0.01) return;
    this.trail = [...this.trail.slice(1 - TRAIL), new Vector3(x, HEIGHT, z)];
    this.draw(this.trail, []);
  }

  clear(): void {
    this.trail = [];
    this.draw([], []);
  }

  private draw(points: Vector3[], dots: Vector3[]): void {
    for (const [object, places] of [[this.line, points], [this.dots, dots]] as const) {
      object.geometry.dispose();
      object.geometry = new BufferGeometry().setFromPoints(places);
    }
  }

  dispose(): void {
    for (const object of [this.line, this.dots]) {
      object.geometry.dispose();
      object.material.dispose();
    }
  }
}
