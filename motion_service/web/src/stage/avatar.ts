// Whom motion is for: the mannequin, or a .vrm of the user, which the service has read so that tracks fit it.
import type { Service } from "../service.ts";

export interface AvatarChoice {
  /** What requests say: an id of the service, or "none" for the mannequin. */
  readonly id: string;
  readonly name: string;
  /** "0.x" or "1.0"; null: the mannequin. */
  readonly version: string | null;
  readonly warnings: readonly string[];
  /** The file. */
  readonly read: () => Promise<ArrayBuffer>;
}

export function mannequin(service: Service): AvatarChoice {
  let file: Promise<ArrayBuffer> | null = null;
  const read = (): Promise<ArrayBuffer> => (file ??= service.file("avatars/mannequin.vrm").then((b) => b.arrayBuffer()));
  return { id: "none", name: "mannequin", version: null, warnings: [], read };
}

/** Let the service read a file. Throws a ServiceError for what is no avatar. */
export async function uploadAvatar(service: Service, file: File): Promise<AvatarChoice> {
  const bytes = await file.arrayBuffer();
  const { id, name, vrm_version, warnings } = await service.uploadAvatar(bytes);
  return { id, name: name || file.name, version: vrm_version, warnings, read: async () => bytes };
}
