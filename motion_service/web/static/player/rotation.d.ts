import type { Quaternion, Vector3 } from "three";
/** The vector of a unit quaternion, at most half a turn long. */
export declare function toRotationVector({ x, y, z, w }: Quaternion, out: Vector3): Vector3;
/** The unit quaternion of a vector. */
export declare function fromRotationVector(vector: Vector3, out: Quaternion): Quaternion;
