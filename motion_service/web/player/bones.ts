// The bones of the VRM 1.0 humanoid and what each of them hangs on. three-vrm gives VRM 0.x avatars the same names.

const SIDES = ["left", "right"];
const FINGERS = ["Thumb", "Index", "Middle", "Ring", "Little"];
const JOINTS = ["Proximal", "Intermediate", "Distal"];
const THUMB_JOINTS = ["Metacarpal", "Proximal", "Distal"];

function sideParents(side: string): [string, string][] {
  const chain = (...bones: string[]) =>
    bones.slice(1).map((bone, i): [string, string] => [bone, bones[i] as string]);
  return [
    [`${side}Eye`, "head"],
    ...chain("upperChest", `${side}Shoulder`, `${side}UpperArm`, `${side}LowerArm`, `${side}Hand`),
    ...chain("hips", `${side}UpperLeg`, `${side}LowerLeg`, `${side}Foot`, `${side}Toes`),
    ...FINGERS.flatMap((finger) => {
      const joints = finger === "Thumb" ? THUMB_JOINTS : JOINTS;
      return chain(`${side}Hand`, ...joints.map((joint) => `${side}${finger}${joint}`));
    }),
  ];
}

/** Parent of every bone, parents before their children. A bone that an avatar lacks hands its children upwards. */
export const PARENTS: ReadonlyMap<string, string | null> = new Map<string, string | null>([
  ["hips", null],
  ["spine", "hips"],
  ["chest", "spine"],
  ["upperChest", "chest"],
  ["neck", "upperChest"],
  ["head", "neck"],
  ["jaw", "head"],
  ...SIDES.flatMap(sideParents),
]);

const DETAIL = new RegExp(`Eye$|^jaw$|${FINGERS.join("|")}`);

/** Whether a bone is none of the body: fingers, eyes and jaw, which a motion of the whole body may leave alone. */
export const isDetail = (bone: string): boolean => DETAIL.test(bone);
