// Every file of a job to be saved, those too that are still being made.
import { h, refill } from "../dom.ts";
import { icon } from "../parts/icons.ts";
import type { Service } from "../service.ts";
import { t, tOr } from "../strings.ts";
import type { ArtifactStatus, MotionResponse } from "../wire.ts";

const ENDINGS: Record<string, string> = { "vrm-json": "json", npy: "npy", mp4: "mp4", vrma: "vrma", bvh: "bvh", smpl: "npy", hik: "json" };
const ASK_AGAIN = 700; // ms
const MOST = 60;

export class Files {
  readonly element: HTMLElement;
  private readonly list = h("ul", {});
  private job = "";

  constructor(
    private readonly service: Service,
    private readonly onError: (error: unknown) => void,
  ) {
    this.element = h("section", { class: "files" }, h("h3", {}, t("judge.downloads")), this.list);
  }

  set({ job_id, url, metadata }: MotionResponse): void {
    this.job = job_id;
    const ready: ArtifactStatus = { state: "ready", url };
    this.fill({ "vrm-json": ready, ...metadata.artifacts });
    void this.follow(job_id);
  }

  /** Ask until nothing is being made any more. */
  private async follow(job: string): Promise<void> {
    for (let times = 0; times < MOST && this.pending && this.job === job; times++) {
      const known = await this.service.job(job).catch(() => null);
      if (!known || this.job !== job) return;
      this.fill(known.artifacts);
      if (this.pending) await new Promise((later) => setTimeout(later, ASK_AGAIN));
    }
  }

  private get pending(): boolean {
    return this.list.querySelector(".pending") !== null;
  }

  private fill(artifacts: Readonly<Record<string, ArtifactStatus>>): void {
    const kinds = Object.keys(ENDINGS).filter((kind) => kind in artifacts);
    refill(this.list, ...kinds.map((kind) => this.item(kind, artifacts[kind]!)));
  }

  private item(kind: string, { state, url, error }: ArtifactStatus): HTMLElement {
    const name = tOr(`file.${kind}`, kind);
    if (state === "pending") return h("li", { class: "pending" }, name, h("small", {}, t("file.pending")));
    if (state === "failed") return h("li", { class: "failed", title: error }, name, h("small", {}, t("file.failed")));
    const save = (): void => void this.save(kind, url).catch(this.onError);
    return h("li", {}, h("button", { type: "button", class: "quiet", onclick: save, "data-kind": kind }, icon("download"), name));
  }

  private async save(kind: string, url: string): Promise<void> {
    const address = URL.createObjectURL(await this.service.file(url));
    h("a", { href: address, download: `${this.job.slice(0, 8)}.${ENDINGS[kind] ?? "bin"}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }
}
