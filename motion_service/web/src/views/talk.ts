// Letting avatars talk: a reply as text, with a voice or without; two of them take turns, a line each.
import type { PromptApplied } from "../../player/messages.ts";
import { h, refill } from "../dom.ts";
import { complain, notify } from "../parts/notices.ts";
import { choiceField, promptBox } from "../parts/request.ts";
import { t } from "../strings.ts";
import type { Speak } from "../wire.ts";
import type { Actor } from "./actor.ts";
import type { History } from "./history.ts";
import { Voice } from "./voice.ts";

const EMOTIONS = ["neutral", "happy", "sad", "angry", "shy", "tired", "energetic"] as const;
const PAUSE = 0.25; // seconds between two who talk
const GLANCE = 40; // ms between two looks at the screen

export class TalkPanel {
  readonly element: HTMLElement;
  /** Called when another one is to come, or to go. */
  onPartner: (wanted: boolean) => void = () => {};
  private readonly box: HTMLTextAreaElement;
  private readonly emotion: HTMLSelectElement;
  private readonly partner = h("input", { type: "checkbox" });
  private readonly voiceName = h("span", { class: "note" });
  private voice: Voice | null = null;
  private round = 0;

  constructor(
    private readonly actors: () => Actor[],
    private readonly history: History,
  ) {
    const [field, box] = promptBox("talk.text", "talk.placeholder", () => void this.say());
    const [emotionField, emotion] = choiceField("talk.emotion", EMOTIONS.map((name) => [name, t(`talk.${name}`)] as const));
    [this.box, this.emotion] = [box, emotion];
    const file = h("input", { type: "file", accept: "audio/*", class: "visually-hidden", tabindex: -1 });
    file.addEventListener("change", () => void this.read(file.files?.[0] ?? null));
    const choose = h("button", { type: "button", class: "quiet", onclick: () => file.click() }, t("talk.voice"));
    this.partner.addEventListener("change", () => this.onPartner(this.partner.checked));
    const say = h("button", { type: "button", class: "primary", onclick: () => void this.say() }, t("talk.say"));
    const hush = h("button", { type: "button", class: "quiet", onclick: () => this.interrupt() }, t("talk.interrupt"));
    const states = (["listen", "think", "idle"] as const).map((to) =>
      h("button", { type: "button", class: "chip", onclick: () => this.state(to) }, t(`talk.${to}`)),
    );
    this.element = h(
      "details",
      { class: "talk" },
      h("summary", {}, t("talk.title")),
      h(
        "div",
        { class: "request" },
        field,
        emotionField,
        h("label", { class: "check" }, this.partner, h("span", {}, t("talk.two"))),
        h("div", { class: "row" }, choose, file, this.voiceName),
        h("div", { class: "actions" }, say, hush),
        h("div", { class: "examples", role: "group", "aria-label": t("talk.states") }, ...states),
      ),
    );
  }

  private async read(file: File | null): Promise<void> {
    try {
      this.voice = file && (await Voice.read(file));
      refill(this.voiceName, file?.name);
    } catch (error) {
      complain(new TypeError(t("talk.noAudio")));
      console.info(error);
    }
  }

  private state(to: "listen" | "think" | "idle"): void {
    for (const actor of this.actors()) if (!actor.live?.tell({ type: "state", to })) notify(t("talk.notLive"));
  }

  private interrupt(): void {
    this.round++;
    this.voice?.stop();
    for (const actor of this.actors()) actor.live?.tell({ type: "interrupt", to: "listen" });
  }

  /** All lines, each when the one before is over. */
  private async say(): Promise<void> {
    const lines = this.partner.checked ? this.box.value.split("\n") : [this.box.value];
    const said = lines.map((line) => line.trim()).filter(Boolean);
    const round = ++this.round;
    for (const [i, text] of said.entries()) {
      const actors = this.actors();
      const speaker = actors[i % actors.length]!;
      if (!(await running(speaker))) return notify(t("talk.notLive"));
      for (const other of actors) if (other !== speaker) other.live?.tell({ type: "state", to: "listen" });
      const voice = said.length === 1 ? this.voice : null;
      const begun = await speaker.ask(this.message(text, voice));
      if (!begun?.speech) return notify(t("talk.failed"), "error");
      await this.follow(speaker, begun, text, voice, round);
      if (round !== this.round) return;
    }
  }

  private message(text: string, voice: Voice | null): Speak {
    const emotion = this.emotion.value as NonNullable<Speak["emotion"]>;
    return { type: "speak", text, emotion, then: "listen", audio_envelope: voice?.envelope ?? null };
  }

  /** Until the screen has shown it all, or something else was asked for. */
  private async follow(
    speaker: Actor,
    { t0, speech }: PromptApplied,
    text: string,
    voice: Voice | null,
    round: number,
  ): Promise<void> {
    const { seconds, beats } = speech!;
    const onStrip = t0 - speaker.seconds + this.actors()[0]!.seconds; // the strip has the clock of the first one
    this.history.addSpeech(text, onStrip, seconds, voice?.envelope ?? null, beats);
    let heard = false;
    while (speaker.live && round === this.round && speaker.seconds < t0 + seconds + PAUSE) {
      if (!heard && speaker.seconds >= t0) {
        heard = true;
        voice?.play();
      }
      await new Promise((later) => setTimeout(later, GLANCE));
    }
  }
}

/** Whether a stream runs; it is waited for when it is about to. */
async function running(actor: Actor): Promise<boolean> {
  for (let glances = 0; glances < 250 && actor.live && !actor.live.ready; glances++) {
    await new Promise((later) => setTimeout(later, GLANCE));
  }
  return actor.live?.ready ?? false;
}
