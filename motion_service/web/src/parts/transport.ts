// Play, pause, go to a moment, speed, loop and what is laid over the figure; for one show, or several in step.
import { h, newId } from "../dom.ts";
import type { Overlays } from "../stage/figure.ts";
import type { PlayChoice, Show } from "../stage/show.ts";
import { n, t, type Key } from "../strings.ts";
import { icon } from "./icons.ts";

const SPEEDS = [0.25, 0.5, 1, 1.5, 2];

export class Transport {
  readonly element: HTMLElement;
  private readonly button = h("button", { type: "button", class: "round", onclick: () => this.toggle() });
  private readonly slider: HTMLInputElement;
  private readonly clock = h("output", { class: "clock" });
  private paused = false;
  private shownPaused: boolean | null = null;

  constructor(private readonly shows: readonly Show[]) {
    this.slider = h("input", { type: "range", min: 0, max: 1, step: 0.001, value: 0, class: "scrub", "aria-label": t("scrub") });
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
    this.element = h(
      "div",
      { class: "transport", role: "group", "aria-label": t("play") },
      this.button,
      this.slider,
      this.clock,
      h("div", { class: "switches" }, this.speed(), ...this.switches(), this.reset()),
    );
    for (const show of shows) show.onFrame = () => this.update();
    this.update();
  }

  /** Seconds of the longest. */
  get duration(): number {
    return Math.max(0, ...this.shows.map(({ playback }) => playback?.duration ?? 0));
  }

  get time(): number {
    return Math.max(0, ...this.shows.map(({ playback }) => playback?.time ?? 0));
  }

  toggle(): void {
    const atEnd = this.shows.every(({ playback }) => !playback || (!playback.loop && playback.time >= playback.duration));
    if (atEnd && !this.paused) this.seek(0);
    else this.paused = !this.paused;
    this.update();
  }

  seek(seconds: number): void {
    for (const { playback } of this.shows) playback?.seek(seconds);
    this.update();
  }

  /** Begin what was put on the stages anew, together. */
  restart(): void {
    this.paused = false;
    this.seek(0);
  }

  private update(): void {
    const { duration, time } = this;
    const first = this.shows.find(({ playback }) => playback)?.playback;
    for (const { playback } of this.shows) if (playback) playback.paused = this.paused;
    this.keepInStep();
    if (this.paused !== this.shownPaused) {
      this.shownPaused = this.paused;
      this.button.setAttribute("aria-label", t(this.paused ? "play" : "pause"));
      this.button.replaceChildren(icon(this.paused ? "play" : "pause"));
    }
    this.slider.max = String(duration || 1);
    this.slider.value = String(time);
    this.slider.style.setProperty("--share", `${duration ? (100 * time) / duration : 0}%`);
    this.element.classList.toggle("empty", !first);
    this.slider.disabled = this.button.disabled = !first;
    this.clock.textContent = first ? `${n(time, 2)} / ${n(duration, 2)} s` : "";
    const facts = first && { frame: first.frame + 1, count: first.motion.count, fps: n(first.motion.fps, 2) };
    this.clock.title = facts ? t("transport.frame", facts) : "";
    if (facts) this.slider.setAttribute("aria-valuetext", `${n(time, 2)} s, ${t("transport.frame", facts)}`);
  }

  /** Stages draw one after the other: the others show the moment of the first. */
  private keepInStep(): void {
    const [first, ...others] = this.shows.map(({ playback }) => playback);
    if (!first) return;
    for (const other of others) if (other && Math.abs(other.time - first.time) > 0.02) other.seek(first.time);
  }

  private speed(): HTMLElement {
    const id = newId();
    const choice = h("select", { id, class: "small" });
    choice.append(...SPEEDS.map((speed) => h("option", { value: speed, selected: speed === 1 }, `${n(speed, 2)}×`)));
    choice.addEventListener("change", () => this.choose({ speed: Number(choice.value) }));
    return h("label", { class: "inline", for: id }, h("span", { class: "visually-hidden" }, t("speed")), choice);
  }

  private switches(): HTMLElement[] {
    const { choice, overlays } = this.shows[0]!;
    return [
      this.switch("loop", choice.loop, (loop) => this.choose({ loop })),
      this.switch("smooth", choice.smooth, (smooth) => this.choose({ smooth })),
      this.switch("overlay.skeleton", overlays.skeleton, (skeleton) => this.lay({ skeleton })),
      this.switch("overlay.contacts", overlays.contacts, (contacts) => this.lay({ contacts })),
      this.switch("overlay.path", overlays.path, (path) => this.lay({ path })),
    ];
  }

  private switch(key: Key, on: boolean, change: (on: boolean) => void): HTMLElement {
    const button = h("button", { type: "button", class: "switch", "aria-pressed": String(on) }, t(key));
    button.addEventListener("click", () => {
      const now = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(now));
      change(now);
    });
    return button;
  }

  private reset(): HTMLElement {
    const reset = (): void => this.shows.forEach(({ stage }) => stage?.resetView());
    return h("button", { type: "button", class: "switch", onclick: reset, "aria-label": t("stage.reset"), title: t("stage.reset") }, icon("reset"));
  }

  private choose(choice: Partial<PlayChoice>): void {
    for (const show of this.shows) show.setChoice(choice);
  }

  private lay(overlays: Partial<Overlays>): void {
    for (const show of this.shows) show.setOverlays(overlays);
  }
}
