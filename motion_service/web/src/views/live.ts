// Motion without an end that follows what is typed.
import { LiveStream, type LiveState } from "../../player/live.ts";
import type { ServerMessage } from "../../player/messages.ts";
import type { App, View } from "../app.ts";
import { h, refill, show } from "../dom.ts";
import { complain, notify } from "../parts/notices.ts";
import { fillProviders, promptBox } from "../parts/request.ts";
import { planChips } from "../parts/summary.ts";
import { Show } from "../stage/show.ts";
import { examples, n, t } from "../strings.ts";
import type { PromptPlanOut } from "../wire.ts";
import { History } from "./history.ts";

const LIVE_ENGINES = new Set(["mini", "dip"]);
const REFRESH = 100; // ms between two readings of the figures

export class LiveView implements View {
  readonly element: HTMLElement;
  readonly show = new Show(t("stage.label"));
  private readonly box: HTMLTextAreaElement;
  private readonly understood = h("div", { class: "understood" });
  private readonly history = new History();
  private readonly state = h("span", { class: "state ended" });
  private readonly toggle = h("button", { type: "button", class: "primary", onclick: () => this.startOrStop() });
  private readonly provider = h("select", { "aria-label": t("form.provider") });
  private readonly readings = {
    reaction: reading(t("live.reaction")),
    lead: reading(t("live.lead")),
    dropped: reading(t("live.dropped")),
    held: reading(t("live.held")),
  };
  private stream: LiveStream | null = null;
  private readAt = 0;

  constructor(private readonly app: App) {
    const [field, box] = promptBox("live.prompt", "live.placeholder", () => this.send());
    this.box = box;
    const idle = h("button", { type: "button", class: "quiet", onclick: () => this.say("") }, t("live.idle"));
    const send = h("button", { type: "submit", class: "primary" }, t("live.send"));
    const chips = examples.slice(0, 3).map((text) => h("button", { type: "button", class: "chip", onclick: () => this.say(text) }, text));
    const form = h("form", { class: "request" }, field, h("div", { class: "examples" }, ...chips), h("div", { class: "actions" }, send, idle));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    const { reaction, lead, dropped, held } = this.readings;
    const side = h(
      "section",
      { class: "panel", "aria-label": t("nav.live") },
      h("div", { class: "row between" }, h("div", { class: "row" }, this.toggle, this.provider), this.state),
      form,
      h("h3", {}, t("plan.title")),
      this.understood,
      h("dl", { class: "readings" }, reaction.element, lead.element, dropped.element, held.element),
      h("p", { class: "note" }, t("live.hint")),
    );
    this.element = h("div", { class: "split" }, side, h("div", { class: "result" }, h("div", { class: "card" }, this.show.element, this.history.element)));
    this.show.onFrame = () => this.read();
    this.show.setOverlays({ contacts: false });
    app.facts.watch((facts) => {
      const live = facts && { ...facts, providers: facts.providers.filter((name) => LIVE_ENGINES.has(name)) };
      fillProviders(this.provider, live);
      this.provider.querySelector("option[value=placeholder]")?.remove();
    });
    this.show.onError = (error) => complain(error, t("avatar.failed"));
    this.show.figure.watch((figure) => figure?.player.follow(this.stream));
    app.avatar.watch((avatar) => this.useAvatar(avatar));
    this.enter("ended");
  }

  setVisible(visible: boolean): void {
    this.show.setVisible(visible);
    if (visible) this.stream?.resume();
    else this.stream?.pause();
    if (visible && matchMedia("(pointer: fine)").matches) this.box.focus({ preventScroll: true });
  }

  /** What is followed; null: nothing. */
  get live(): LiveStream | null {
    return this.stream;
  }

  /** A stream is for one body: another one begins anew. */
  private useAvatar(avatar: App["avatar"]["value"]): void {
    const wasLive = this.stream !== null;
    this.stop();
    this.show.setAvatar(avatar);
    if (wasLive) this.start();
  }

  private startOrStop(): void {
    if (this.stream) this.stop();
    else this.start();
  }

  private start(prompt = ""): void {
    const { service, avatar } = this.app;
    this.history.clear();
    this.show.figure.value?.path.clear();
    this.stream = new LiveStream(service.base, {
      prompt,
      provider: this.provider.value as "auto",
      avatar: avatar.value.id,
      expressions: true,
      ...(service.key !== null && { key: service.key }),
      onMessage: (message) => this.take(message),
      onState: (state) => this.enter(state),
    });
    if (prompt) this.history.add(prompt);
    this.show.figure.value?.player.follow(this.stream);
    this.enter("connecting");
  }

  private stop(): void {
    this.stream?.close();
    this.stream = null;
    this.show.figure.value?.player.follow(null);
    this.enter("ended");
  }

  private send(): void {
    const text = this.box.value.trim();
    if (!text) return;
    this.box.value = "";
    this.say(text);
  }

  /** Say something; it starts the stream if there is none. "": idle. */
  private say(text: string): void {
    if (!this.stream) return this.start(text);
    this.stream.prompt(text);
    this.history.add(text);
  }

  private take(message: ServerMessage): void {
    if (message.type === "started" || message.type === "prompt_applied") {
      refill(this.understood, planChips(message.prompt_plan as PromptPlanOut));
      const frame = message.type === "started" ? message.first_frame : message.from_frame;
      this.history.applied(frame, this.stream?.facts?.fps ?? 20);
      for (const warning of message.warnings) notify(warning);
    } else if (message.type === "error") {
      notify(message.problem.detail ?? "", "error", message.problem.title);
    }
  }

  private enter(state: LiveState): void {
    if (state === "ended") this.stream = null;
    this.state.textContent = t(`live.state.${state}`);
    this.state.className = `state ${state}`;
    this.toggle.textContent = t(this.stream ? "live.stop" : "live.start");
    show(this.provider, this.stream === null);
  }

  /** Figures of the moment. */
  private read(): void {
    const { stream } = this;
    const figure = this.show.figure.value;
    if (figure && stream?.ready) figure.path.extend(figure.place);
    const now = performance.now();
    if (!stream || now - this.readAt < REFRESH) return;
    this.readAt = now;
    const { frame, ahead, held, skipped, reaction } = stream.status;
    const fps = stream.facts?.fps ?? 20;
    this.readings.reaction.set(reaction === null ? "–" : `${n(1000 * reaction)} ms`);
    this.readings.lead.set(`${n(ahead, 2)} s`, ahead / 1.5);
    this.readings.dropped.set(n(skipped));
    this.readings.held.set(`${n(held, 2)} s`);
    this.history.show(frame / fps, frame / fps + ahead);
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
