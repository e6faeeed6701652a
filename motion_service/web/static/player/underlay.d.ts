import type { Pose } from "./pose.ts";
import type { Puppet } from "./puppet.ts";
import type { Source } from "./source.ts";
export declare class Underlay implements Source {
    private readonly puppet;
    readonly over = false;
    constructor(puppet: Puppet);
    advance(): void;
    sample(pose: Pose): boolean;
    takeJoin(): boolean;
}
