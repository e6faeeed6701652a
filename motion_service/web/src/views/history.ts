// What was said to a stream, on a strip of time: when it shows, where the screen is, how far motion is there.
import { h, refill } from "../dom.ts";
import { n, t } from "../strings.ts";

const WINDOW = 14; // seconds on the strip
const AHEAD = 2; // of them after now
const KEPT = 40;

interface Entry {
  text: string;
  /** Seconds of the stream; null: on its way. */
  from: number | null;
  element: HTMLElement;
}

export class History {
  readonly element: HTMLElement;
  private readonly strip = h("div", { class: "strip", "aria-hidden": "true" });
  private readonly buffer = h("span", { class: "buffer" });
  private readonly now = h("span", { class: "now" });
  private readonly list = h("ol", { class: "said", "aria-label": t("live.history"), reversed: true });
  private entries: Entry[] = [];

  constructor() {
    this.element = h("div", { class: "history" }, this.strip, this.list);
    this.clear();
  }

  clear(): void {
    this.entries = [];
    refill(this.strip, this.buffer, this.now);
    refill(this.list);
  }

  /** Something was said now. */
  add(text: string): void {
    const words = text || t("plan.idle");
    const element = h("span", { class: "cue waiting" }, h("b", {}, words));
    this.strip.append(element);
    this.entries = [...this.entries.slice(-KEPT), { text: words, from: null, element }];
    this.write();
  }

  /** What was said last shows from a frame on; of what waits, only the last counts. */
  applied(frame: number, fps: number): void {
    const waiting = this.entries.filter(({ from }) => from === null);
    for (const entry of waiting) {
      if (entry === waiting.at(-1)) entry.from = frame / fps;
      else entry.element.remove();
      entry.element.classList.remove("waiting");
    }
    this.entries = this.entries.filter(({ from }) => from !== null);
    this.write();
  }

  /** `at`: seconds on the screen; `until`: how far motion is there. */
  show(at: number, until: number): void {
    const place = (seconds: number): number => (100 * (seconds - at + WINDOW - AHEAD)) / WINDOW;
    this.now.style.left = `${place(at)}%`;
    this.buffer.style.left = `${place(at)}%`;
    this.buffer.style.width = `${Math.max(0, place(until) - place(at))}%`;
    this.entries.forEach(({ from, element }, i) => {
      const start = place(from ?? until);
      const end = place(this.entries[i + 1]?.from ?? at + AHEAD);
      element.hidden = end < 0;
      element.style.left = `${Math.max(0, start)}%`;
      element.style.width = `${Math.max(0, Math.min(end, 100) - Math.max(0, start))}%`;
    });
  }

  private write(): void {
    const latest = this.entries.slice(-5).reverse();
    const items = latest.map(({ text, from }) => h("li", {}, h("span", {}, text), h("small", {}, from === null ? t("live.waiting") : `${n(from, 1)} s`)));
    refill(this.list, ...items);
  }
}
