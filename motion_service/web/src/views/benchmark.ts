// How long this machine takes for a clip, measured on demand.
import type { App } from "../app.ts";
import { h, refill, show } from "../dom.ts";
import { complain } from "../parts/notices.ts";
import { language, n, t, tOr } from "../strings.ts";
import type { BenchmarkOut, BenchmarkRow } from "../wire.ts";
import { table } from "./health.ts";

const PERIOD = 700; // ms

export class BenchmarkCard {
  readonly element: HTMLElement;
  private readonly body = h("div", {});
  private readonly button = h("button", { type: "button", class: "primary", onclick: () => void this.start() }, t("health.benchRun"));
  private visible = false;

  constructor(private readonly app: App) {
    const text = h("p", { class: "note" }, t("health.benchText"));
    this.element = h("section", { class: "card stat" }, h("h2", {}, t("health.bench")), text, this.body, this.button);
  }

  setVisible(visible: boolean): void {
    this.visible = visible;
    if (visible) void this.follow();
  }

  private async start(): Promise<void> {
    try {
      this.draw(await this.app.service.startBenchmark());
      await this.follow();
    } catch (error) {
      complain(error);
    }
  }

  private async follow(): Promise<void> {
    for (;;) {
      const now = await this.app.service.benchmark().catch(() => null);
      if (now) this.draw(now);
      if (!this.visible || now?.state !== "running") return;
      await new Promise((later) => setTimeout(later, PERIOD));
    }
  }

  private draw({ state, done, of, record }: BenchmarkOut): void {
    show(this.button, state !== "running");
    const head = [t("health.engine"), t("form.steps"), `${t("health.median")}, ms`, t("health.realtime"), t("quality.skate_cm_s")];
    refill(
      this.body,
      state === "running" && h("p", { role: "status" }, h("progress", { max: of, value: done }), ` ${t("health.benchRunning", { done, of })}`),
      state === "never-run" && h("p", { class: "note" }, t("health.benchNever")),
      record ? table(head, record.rows.map(row)) : null,
      record && h("p", { class: "note" }, t("health.benchAt", { at: new Date(record.at).toLocaleString(language), device: record.device.name })),
    );
  }
}

function row({ provider, steps, median_ms, times_real_time, quality, failed }: BenchmarkRow): HTMLElement {
  const cells = failed
    ? [h("td", { colspan: 3 }, tOr(`reason.${failed}`, failed))]
    : [`${n(median_ms)}`, `${n(times_real_time, 1)}`, `${n(quality["skate_cm_s"] ?? 0, 1)} cm/s`].map((text) => h("td", { class: "number" }, text));
  return h("tr", {}, h("th", { scope: "row" }, provider), h("td", {}, steps ? n(steps) : "–"), ...cells);
}
