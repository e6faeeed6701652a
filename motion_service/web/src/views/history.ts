// What was said to a stream, on a strip of time: when it shows, where the screen is, how far motion is there.
import type { Speech } from "../../player/messages.ts";
import { h, refill, s } from "../dom.ts";
import { n, t } from "../strings.ts";
import type { Envelope } from "./voice.ts";

const WINDOW = 14; // seconds on the strip
const AHEAD = 2; // of them after now
const KEPT = 40;

interface Entry {
  text: string;
  /** Seconds of the stream; null: on its way. */
  from: number | null;
  element: HTMLElement;
}

/** Something said aloud. */
interface Spoken {
  from: number;
  seconds: number;
  element: HTMLElement;
}

export class History {
  readonly element: HTMLElement;
  private readonly strip = h("div", { class: "strip", "aria-hidden": "true" });
  private readonly buffer = h("span", { class: "buffer" });
  private readonly now = h("span", { class: "now" });
  private readonly list = h("ol", { class: "said", "aria-label": t("live.history"), reversed: true });
  private readonly voices = h("div", { class: "voices", "aria-hidden": "true", hidden: true });
  private entries: Entry[] = [];
  private spoken: Spoken[] = [];

  constructor() {
    this.element = h("div", { class: "history" }, this.strip, this.voices, this.list);
    this.clear();
  }

  clear(): void {
    this.entries = [];
    this.spoken = [];
    refill(this.voices);
    this.voices.hidden = true;
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

  /** Somebody says `text` from `from` on, seconds of the stream: how loud, and where the body stresses it. */
  addSpeech(text: string, from: number, seconds: number, envelope: Envelope | null, beats: Speech["beats"]): void {
    const element = h("div", { class: "voice" }, wave(seconds, envelope, beats), h("span", {}, text));
    this.voices.append(element);
    this.voices.hidden = false;
    this.spoken = [...this.spoken.slice(-KEPT), { from, seconds, element }];
    const item = h("li", {}, h("span", { class: "aloud" }, text), h("small", {}, `${n(from, 1)} s`));
    this.list.prepend(item);
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
    for (const { from, seconds, element } of this.spoken) {
      element.hidden = place(from + seconds) < 0;
      element.style.left = `${place(from)}%`;
      element.style.width = `${(100 * seconds) / WINDOW}%`;
    }
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

/** Loudness as an area, where there is a voice; beats as strokes. */
function wave(seconds: number, envelope: Envelope | null, beats: Speech["beats"]): SVGSVGElement {
  const values = envelope?.values ?? [];
  const most = Math.max(1e-6, ...values);
  const x = (time: number): string => ((100 * time) / seconds).toFixed(2);
  const above = values.map((value, i) => `${x(i / envelope!.rate)},${(20 - (18 * value) / most).toFixed(1)}`);
  return s(
    "svg",
    { viewBox: "0 0 100 20", preserveAspectRatio: "none" },
    values.length > 0 && s("polygon", { class: "loud", points: `0,20 ${above.join(" ")} 100,20` }),
    ...beats.map(({ t: time, strength }) => {
      const height = 4 + 14 * Math.min(strength, 1);
      return s("line", { class: "beat", x1: x(time), x2: x(time), y1: 20, y2: 20 - height });
    }),
  );
}
