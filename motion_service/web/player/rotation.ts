// Rotations as vectors: along the axis, as long as the angle in radians.
import type { Quaternion, Vector3 } from "three";

/** The vector of a unit quaternion, at most half a turn long. */
export function toRotationVector({ x, y, z, w }: Quaternion, out: Vector3): Vector3 {
  const sine = Math.hypot(x, y, z);
  const near = w < 0 ? -1 : 1; // q and -q are the same rotation
  const scale = sine < 1e-9 ? 2 : (2 * Math.atan2(sine, w * near)) / sine;
  return out.set(x, y, z).multiplyScalar(near * scale);
}

/** The unit quaternion of a vector. */
export function fromRotationVector(vector: Vector3, out: Quaternion): Quaternion {
  const angle = vector.length();
  const scale = angle < 1e-9 ? 0.5 : Math.sin(angle / 2) / angle;
  return out.set(vector.x * scale, vector.y * scale, vector.z * scale, Math.cos(angle / 2));
}
