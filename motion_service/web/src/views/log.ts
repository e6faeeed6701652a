// The latest events, newest first; steps of one job take one line.
import { h } from "../dom.ts";
import type { Feed } from "../feed.ts";
import { language, n, t } from "../strings.ts";
import type { DiagnosticsEvent } from "../wire.ts";

const KEPT = 40;

export class EventLog {
  readonly element: HTMLElement;
  private readonly list = h("ol", { class: "log", reversed: true }, h("li", { class: "note" }, t("health.quiet")));
  private readonly lines = new Map<string, HTMLElement>();

  constructor(feed: Feed) {
    this.element = h("section", { class: "card stat" }, h("h2", {}, t("health.events")), this.list);
    feed.listen((event) => this.add(event));
  }

  private add(event: DiagnosticsEvent): void {
    const job = "job_id" in event ? event.job_id : "";
    this.list.querySelector(".note")?.remove();
    const line = this.lines.get(job) ?? h("li", {});
    if (!line.isConnected) this.list.prepend(line);
    if (job) this.lines.set(job, line);
    const time = new Date().toLocaleTimeString(language);
    const link = job && event.type === "job_done" ? h("a", { href: `?job=${job}#judge` }, job.slice(0, 8)) : job.slice(0, 8);
    line.replaceChildren(h("time", {}, time), h("code", {}, link), h("span", { class: kind(event) }, words(event)));
    if (event.type === "job_done" || event.type === "job_failed") this.lines.delete(job);
    while (this.list.childElementCount > KEPT) this.list.lastElementChild?.remove();
  }
}

const kind = (event: DiagnosticsEvent): string =>
  event.type === "job_done" && event.fallback_used ? "placeholder" : event.type;

function words(event: DiagnosticsEvent): string {
  switch (event.type) {
    case "job_queued":
      return t("event.job_queued", { position: event.position });
    case "job_step":
      return t("event.job_step", { done: event.done, steps: event.steps });
    case "job_done":
      return t("event.job_done", { generator: event.generator, seconds: n(event.seconds, 2), fps: n(event.fps, 2) });
    case "job_failed":
      return t("event.job_failed", { problem: event.problem });
    case "missed":
      return t("event.missed", { count: event.count });
  }
}
