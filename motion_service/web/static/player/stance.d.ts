import type { Pose } from "./pose.ts";
import type { Source } from "./source.ts";
export declare class Stance implements Source {
    readonly over = false;
    private time;
    advance(seconds: number): void;
    sample(pose: Pose): boolean;
    takeJoin(): boolean;
}
