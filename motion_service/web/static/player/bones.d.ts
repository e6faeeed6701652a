/** Parent of every bone, parents before their children. A bone that an avatar lacks hands its children upwards. */
export declare const PARENTS: ReadonlyMap<string, string | null>;
/** Whether a bone is none of the body: fingers, eyes and jaw, which a motion of the whole body may leave alone. */
export declare const isDetail: (bone: string) => boolean;
