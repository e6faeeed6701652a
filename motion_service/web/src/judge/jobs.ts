// The latest jobs with a picture of each, kept current by the events.
import type { App } from "../app.ts";
import { h, refill } from "../dom.ts";
import { generatorName } from "../parts/summary.ts";
import { language, t } from "../strings.ts";
import type { JobOut } from "../wire.ts";

const LIMIT = 24;
const PAUSE = 400; // ms: events come in bursts

export class JobRow {
  readonly element: HTMLElement;
  private readonly picture = h("img", { alt: "", loading: "lazy", width: 144, height: 54 });
  private hasPicture = false;

  constructor(
    private readonly app: App,
    job: JobOut,
    private readonly pick: (id: string) => void,
  ) {
    this.element = h("li", {});
    this.set(job);
  }

  set(job: JobOut): void {
    const { job_id, state, created, metadata, progress, thumbnail } = job;
    if (thumbnail && !this.hasPicture) void this.load(thumbnail);
    const prompt = String(metadata["prompt"] ?? t(state === "failed" ? "job.failed" : "job.running"));
    const share = progress?.steps ? progress.done / progress.steps : null;
    const isPlaceholder = "fallback_reason" in metadata;
    const button = h(
      "button",
      { type: "button", class: "job", onclick: () => this.pick(job_id), disabled: state !== "done", "data-job": job_id },
      this.picture,
      h("span", { class: "prompt" }, prompt),
      state === "running" && h("progress", { max: 1, value: share }),
      state === "done" && h("span", { class: isPlaceholder ? "tag warn" : "tag" }, generatorName(String(metadata["generator"]))),
      h("time", { datetime: created }, ago(created)),
    );
    refill(this.element, button);
  }

  select(selected: boolean): void {
    this.element.firstElementChild?.setAttribute("aria-pressed", String(selected));
  }

  private async load(thumbnail: string): Promise<void> {
    this.hasPicture = true;
    const url = await this.app.service.picture(thumbnail).catch(() => null);
    if (url) this.picture.src = url;
  }
}

export class JobsList {
  readonly element: HTMLElement;
  private readonly list = h("ul", { class: "jobs" });
  private readonly rows = new Map<string, JobRow>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private visible = false;
  private selected = "";

  constructor(
    private readonly app: App,
    private readonly pick: (id: string) => void,
  ) {
    this.element = h("section", { class: "panel" }, h("h2", {}, t("judge.jobs")), this.list);
    app.feed.listen(() => this.refreshSoon());
  }

  setVisible(visible: boolean): void {
    this.visible = visible;
    if (visible) this.refreshSoon(0);
  }

  select(id: string): void {
    this.selected = id;
    for (const [job, row] of this.rows) row.select(job === id);
  }

  private refreshSoon(pause = PAUSE): void {
    if (!this.visible) return;
    this.timer ??= setTimeout(() => void this.refresh(), pause);
  }

  private async refresh(): Promise<void> {
    const found = await this.app.service.jobs(LIMIT).catch(() => null);
    this.timer = undefined;
    if (!found) return;
    const shown = found.jobs.map((job) => {
      const row = this.rows.get(job.job_id) ?? new JobRow(this.app, job, this.pick);
      row.set(job);
      this.rows.set(job.job_id, row);
      return row.element;
    });
    refill(this.list, ...(shown.length ? shown : [h("li", { class: "note" }, t("judge.noJobs"))]));
    this.select(this.selected);
  }
}

const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "narrow" });

function ago(created: string): string {
  const seconds = (Date.parse(created) - Date.now()) / 1000;
  if (seconds > -60) return relative.format(Math.round(seconds), "second");
  return seconds > -3600 ? relative.format(Math.round(seconds / 60), "minute") : relative.format(Math.round(seconds / 3600), "hour");
}
