// Motion without an end that follows what is typed; avatars that talk.
import type { LiveStream } from "../../player/live.ts";
import type { ServerMessage } from "../../player/messages.ts";
import type { App, View } from "../app.ts";
import { h, refill, show } from "../dom.ts";
import { notify } from "../parts/notices.ts";
import { fillProviders, promptBox } from "../parts/request.ts";
import { planChips } from "../parts/summary.ts";
import type { Show } from "../stage/show.ts";
import { examples, n, t } from "../strings.ts";
import type { PromptPlanOut } from "../wire.ts";
import { Actor } from "./actor.ts";
import { History } from "./history.ts";
import { TalkPanel } from "./talk.ts";

const LIVE_ENGINES = new Set(["mini", "dip"]);
const REFRESH = 100; // ms between two readings of the figures

export class LiveView implements View {
  readonly element: HTMLElement;
  private readonly actor: Actor;
  private partner: Actor | null = null;
  private readonly box: HTMLTextAreaElement;
  private readonly understood = h("div", { class: "understood" });
  private readonly history = new History();
  private readonly stages = h("div", { class: "stages one" });
  private readonly state = h("span", { class: "state ended" });
  private readonly toggle = h("button", { type: "button", class: "primary", onclick: () => this.startOrStop() });
  private readonly provider = h("select", { "aria-label": t("form.provider") });
  private readonly readings = {
    reaction: reading(t("live.reaction")),
    lead: reading(t("live.lead")),
    dropped: reading(t("live.dropped")),
    held: reading(t("live.held")),
  };
  private readAt = 0;
  private visible = false;

  constructor(private readonly app: App) {
    this.actor = new Actor(app, t("stage.label"));
    const [field, box] = promptBox("live.prompt", "live.placeholder", () => this.send());
    this.box = box;
    const talk = new TalkPanel(() => this.actors, this.history);
    talk.onPartner = (wanted) => this.setPartner(wanted);
    this.stages.append(this.actor.show.element);
    const card = h("div", { class: "card" }, this.stages, this.history.element);
    this.element = h("div", { class: "split" }, this.side(this.form(field), talk), h("div", { class: "result" }, card));
    this.actor.show.onFrame = () => this.read();
    this.actor.onMessage = (message) => this.take(message);
    this.actor.state.watch((state) => {
      this.state.textContent = t(`live.state.${state}`);
      this.state.className = `state ${state}`;
      this.toggle.textContent = t(this.actor.live ? "live.stop" : "live.start");
      show(this.provider, this.actor.live === null);
    });
    app.facts.watch((facts) => {
      const live = facts && { ...facts, providers: facts.providers.filter((name) => LIVE_ENGINES.has(name)) };
      fillProviders(this.provider, live);
      this.provider.querySelector("option[value=placeholder]")?.remove();
    });
  }

  private form(field: HTMLElement): HTMLElement {
    const idle = h("button", { type: "button", class: "quiet", onclick: () => this.say("") }, t("live.idle"));
    const send = h("button", { type: "submit", class: "primary" }, t("live.send"));
    const chips = examples.slice(0, 3).map((text) => h("button", { type: "button", class: "chip", onclick: () => this.say(text) }, text));
    const form = h("form", { class: "request" }, field, h("div", { class: "examples" }, ...chips), h("div", { class: "actions" }, send, idle));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    return form;
  }

  private side(form: HTMLElement, talk: TalkPanel): HTMLElement {
    const { reaction, lead, dropped, held } = this.readings;
    return h(
      "section",
      { class: "panel", "aria-label": t("nav.live") },
      h("div", { class: "row between" }, h("div", { class: "row" }, this.toggle, this.provider), this.state),
      form,
      talk.element,
      h("h3", {}, t("plan.title")),
      this.understood,
      h("dl", { class: "readings" }, reaction.element, lead.element, dropped.element, held.element),
      h("p", { class: "note" }, t("live.hint")),
    );
  }

  /** What is followed; null: nothing. */
  get live(): LiveStream | null {
    return this.actor.live;
  }

  get show(): Show {
    return this.actor.show;
  }

  get actors(): Actor[] {
    return this.partner ? [this.actor, this.partner] : [this.actor];
  }

  setVisible(visible: boolean): void {
    this.visible = visible;
    for (const actor of this.actors) actor.setVisible(visible);
    if (visible && matchMedia("(pointer: fine)").matches) this.box.focus({ preventScroll: true });
  }

  /** Another one to talk with, or none. */
  private setPartner(wanted: boolean): void {
    if (wanted) {
      this.partner ??= new Actor(this.app, t("talk.partner"));
      this.stages.append(this.partner.show.element);
      this.partner.setVisible(this.visible);
      if (this.live) this.partner.start();
    } else if (this.partner) {
      this.partner.stop();
      this.partner.setVisible(false);
      this.partner.show.element.remove();
      this.partner = null;
    }
    this.stages.classList.toggle("one", !wanted);
  }

  private startOrStop(): void {
    if (this.live) for (const actor of this.actors) actor.stop();
    else this.start();
  }

  private start(prompt = ""): void {
    this.history.clear();
    this.actor.start({ prompt, provider: this.provider.value as "auto" });
    this.partner?.start({ provider: this.provider.value as "auto" });
    if (prompt) this.history.add(prompt);
  }

  private send(): void {
    const text = this.box.value.trim();
    if (!text) return;
    this.box.value = "";
    this.say(text);
  }

  /** Say something; it starts the stream if there is none. "": idle. */
  private say(text: string): void {
    if (!this.live) return this.start(text);
    this.live.prompt(text);
    this.history.add(text);
  }

  private take(message: ServerMessage): void {
    if (message.type !== "started" && message.type !== "prompt_applied") return;
    for (const warning of message.warnings) notify(warning);
    if (message.type === "prompt_applied" && message.reason !== "prompt") return;
    refill(this.understood, planChips(message.prompt_plan as PromptPlanOut));
    this.history.applied(message.type === "started" ? message.first_frame : message.from_frame, this.actor.fps);
  }

  /** Figures of the moment. */
  private read(): void {
    const figure = this.show.figure.value;
    if (figure && this.live?.ready) figure.path.extend(figure.place);
    const now = performance.now();
    if (!this.live || now - this.readAt < REFRESH) return;
    this.readAt = now;
    const { ahead, held, skipped, reaction } = this.live.status;
    const { seconds } = this.actor;
    this.readings.reaction.set(reaction === null ? "–" : `${n(1000 * reaction)} ms`);
    this.readings.lead.set(`${n(ahead, 2)} s`, ahead / 1.5);
    this.readings.dropped.set(n(skipped));
    this.readings.held.set(`${n(held, 2)} s`);
    this.history.show(seconds, seconds + ahead);
  }
}

/** A figure with its name. */
function reading(name: string): { element: HTMLElement; set: (value: string, share?: number) => void } {
  const value = h("dd", {}, "–");
  const meter = h("span", { class: "meter", "aria-hidden": "true" });
  const element = h("div", {}, h("dt", {}, name), value, meter);
  const set = (text: string, share?: number): void => {
    if (value.textContent !== text) value.textContent = text;
    if (share !== undefined) meter.style.setProperty("--share", `${100 * Math.min(share, 1)}%`);
  };
  return { element, set };
}
