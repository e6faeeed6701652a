// What somebody else puts on the bones before each update, such as the page's own AnimationMixer, as a thing to show.
import type { Pose } from "./pose.ts";
import type { Puppet } from "./puppet.ts";
import type { Source } from "./source.ts";

export class Underlay implements Source {
  readonly over = false;

  constructor(private readonly puppet: Puppet) {}

  advance(): void {
    this.puppet.noteForeign();
  }

  sample(pose: Pose): boolean {
    this.puppet.readForeign(pose.clear());
    return true;
  }

  takeJoin(): boolean {
    return false;
  }
}
