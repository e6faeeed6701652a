// How the service is, asked every two seconds while somebody looks, and what happens in it as it happens.
import type { App, View } from "../app.ts";
import { h, refill, type Child } from "../dom.ts";
import { complain } from "../parts/notices.ts";
import { n, t, tOr, type Key } from "../strings.ts";
import type { DiagnosticsOut } from "../wire.ts";
import { BenchmarkCard } from "./benchmark.ts";
import { EventLog } from "./log.ts";

const PERIOD = 2000; // ms
/** In the order of the flow; one that is not known comes first. */
const STAGES = ["plan", "text", "queue", "sample", "generate", "decode", "finish", "total"];

export class HealthView implements View {
  readonly element: HTMLElement;
  private readonly cards = h("div", { class: "cards" });
  private readonly tables = h("div", { class: "cards" });
  private readonly benchmark: BenchmarkCard;
  private readonly log: EventLog;
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly app: App) {
    this.benchmark = new BenchmarkCard(app);
    this.log = new EventLog(app.feed);
    this.element = h("div", { class: "health" }, this.cards, this.tables, this.benchmark.element, this.log.element);
    app.facts.watch((facts) => facts && this.draw(facts));
  }

  setVisible(visible: boolean): void {
    clearInterval(this.timer);
    this.benchmark.setVisible(visible);
    if (!visible) return;
    void this.refresh();
    this.timer = setInterval(() => void this.refresh(), PERIOD);
  }

  private async refresh(): Promise<void> {
    if (document.hidden) return;
    try {
      this.app.facts.value = await this.app.service.diagnostics();
    } catch (error) {
      if (this.app.feed.state.value === "open") complain(error); // else the head of the page says it
    }
  }

  private draw(facts: DiagnosticsOut): void {
    refill(this.cards, device(facts), queue(facts), streams(facts));
    refill(this.tables, engines(facts), times(facts));
  }
}

const card = (key: Key, ...children: Child[]): HTMLElement => h("section", { class: "card stat" }, h("h2", {}, t(key)), ...children);

const figure = (name: string, value: string, warn = false): HTMLElement =>
  h("div", { class: warn ? "figure warn" : "figure" }, h("dt", {}, name), h("dd", {}, value));

const figures = (...children: Child[]): HTMLElement => h("dl", { class: "figures" }, ...children);

function device(facts: DiagnosticsOut): HTMLElement {
  const { device: { kind, name, cores, torch }, uptime_s, placeholder, providers } = facts;
  const all = [...providers, ...(placeholder ? ["placeholder"] : [])];
  return card(
    "health.device",
    h("p", { class: "big" }, name),
    h("p", { class: "note" }, `${kind} · ${n(cores)} ${t("health.cores")} · torch ${torch} · ${t("health.uptime")} ${duration(uptime_s)}`),
    h("ul", { class: "facts" }, ...all.map((engine) => h("li", { class: engine === "placeholder" ? "" : "strong" }, tOr(`health.${engine}`, engine)))),
    memory(facts),
  );
}

function queue({ queue: { inside, limit, waiting }, jobs, refusals, batches }: DiagnosticsOut): HTMLElement {
  const widths = Object.entries(batches.widths);
  const most = Math.max(1, ...widths.map(([, count]) => count));
  const refused = Object.entries(refusals).map(([name, count]) => `${name} ${n(count)}`);
  return card(
    "health.queue",
    figures(
      figure(t("health.inside"), `${n(inside)} / ${n(limit)}`, inside >= limit),
      figure(t("health.waiting"), n(waiting)),
      figure(t("health.done"), n(jobs.done)),
      figure(t("health.placeholders"), n(jobs.placeholder), jobs.placeholder > 0),
      figure(t("health.failed"), n(jobs.failed), jobs.failed > 0),
      figure(t("health.width"), batches.mean_width === null ? "–" : n(batches.mean_width, 2)),
    ),
    h("p", { class: "note" }, `${t("health.refusals")}: ${refused.join(", ") || t("health.none")}`),
    widths.length > 0 && h("p", { class: "note" }, t("health.batches")),
    h("div", { class: "bars" }, ...widths.map(([width, count]) => column(width, count, count / most))),
  );
}

function column(name: string, count: number, share: number): HTMLElement {
  const bar = h("span", { class: "bar", title: n(count) });
  bar.style.height = `${Math.max(4, 100 * share)}%`;
  return h("div", {}, h("span", { class: "room" }, bar), h("small", {}, name));
}

function memory({ memory: { process_mb, gpu_used_mb, gpu_free_mb, gpu_total_mb } }: DiagnosticsOut): HTMLElement {
  const mb = (value: number | null): string => (value === null ? "–" : value > 2048 ? `${n(value / 1024, 1)} GB` : `${n(value)} MB`);
  return figures(
    figure(`${t("health.memory")}, ${t("health.process")}`, mb(process_mb)),
    gpu_total_mb !== null && figure(t("health.gpu"), mb(gpu_used_mb)),
    gpu_total_mb !== null && figure(t("health.gpuFree"), `${mb(gpu_free_mb)} / ${mb(gpu_total_mb)}`),
  );
}

function engines({ engines: all }: DiagnosticsOut): HTMLElement {
  const rows = Object.entries(all).map(([name, facts]) => {
    const hits = Number(facts["graph_hits"] ?? 0);
    const launched = hits + Number(facts["graph_misses"] ?? 0);
    return h(
      "tr",
      { title: facts["reason"] },
      h("th", { scope: "row" }, name),
      h("td", {}, String(facts["engine"] ?? "–"), facts["reason"] ? " ⚠" : ""),
      h("td", {}, [facts["device"], facts["dtype"]].filter(Boolean).join(" ")),
      h("td", { class: "number" }, launched ? `${n(hits)} (${n((100 * hits) / launched)} %)` : "–"),
      h("td", { class: "number" }, facts["memory_mb"] === undefined ? "–" : `${n(Number(facts["memory_mb"]))} MB`),
    );
  });
  const head = [t("health.engine"), t("health.how"), t("health.device"), t("health.hits"), t("health.memory")];
  return card("health.engines", rows.length ? table(head, rows, 3) : h("p", { class: "note" }, t("health.noEngines")));
}

function times({ stages_ms }: DiagnosticsOut): HTMLElement {
  const most = Math.max(1, ...Object.values(stages_ms).map(({ p95 }) => p95));
  const rows = Object.entries(stages_ms)
    .sort(([a], [b]) => STAGES.indexOf(a) - STAGES.indexOf(b))
    .map(([stage, { p50, p95, count }]) => {
      const [typical, high] = [h("span", { class: "p50" }), h("span", { class: "p95" })];
      typical.style.width = `${(100 * p50) / most}%`;
      high.style.width = `${(100 * p95) / most}%`;
      return h(
        "tr",
        {},
        h("th", { scope: "row" }, tOr(`stage.${stage}`, stage)),
        h("td", { class: "spark" }, h("span", { class: "room" }, high, typical)),
        h("td", { class: "number" }, `${n(p50, p50 < 10 ? 1 : 0)}`),
        h("td", { class: "number" }, `${n(p95, p95 < 10 ? 1 : 0)}`),
        h("td", { class: "number" }, n(count)),
      );
    });
  const head = [t("health.stage"), "", `${t("health.median")}, ms`, t("health.p95"), t("health.count")];
  return card("health.times", rows.length ? table(head, rows) : h("p", { class: "note" }, t("health.quiet")));
}

function streams({ streams: { open, limit, refused, sessions } }: DiagnosticsOut): HTMLElement {
  const rows = sessions.map(({ session_id, generator, fps, played, revision, late_chunks, gaps }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, session_id.slice(0, 8)),
      h("td", {}, generator),
      h("td", { class: "number" }, `${n(played / fps, 1)} s`),
      h("td", { class: "number" }, n(revision)),
      h("td", { class: "number" }, n(late_chunks + gaps)),
    ),
  );
  const head = ["id", t("health.generator"), t("scrub"), t("live.revision"), t("health.late")];
  return card(
    "health.streams",
    figures(figure(t("health.inside"), `${n(open)} / ${n(limit)}`), figure(t("health.refusals"), n(refused), refused > 0)),
    rows.length > 0 && table(head, rows),
  );
}

/** `words`: how many of the first columns hold no numbers. */
export function table(head: readonly string[], rows: readonly HTMLElement[], words = 2): HTMLElement {
  const cells = head.map((text, i) => h("th", { scope: "col", class: i < words ? "" : "number" }, text));
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ...cells)), h("tbody", {}, ...rows)));
}

function duration(seconds: number): string {
  if (seconds < 120) return `${n(seconds)} s`;
  return seconds < 7200 ? `${n(seconds / 60)} min` : `${n(seconds / 3600, 1)} h`;
}
