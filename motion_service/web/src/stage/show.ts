// A stage with an avatar that plays results: loads the avatar, puts the motion on it, lays contacts and path over it.
import { readAnswer, type Motion } from "../../player/answer.ts";
import type { Playback } from "../../player/playback.ts";
import { h, show } from "../dom.ts";
import { Signal } from "../signal.ts";
import { t } from "../strings.ts";
import type { MotionResponse } from "../wire.ts";
import type { AvatarChoice } from "./avatar.ts";
import { Figure, type Overlays } from "./figure.ts";
import { Stage } from "./stage.ts";

export interface PlayChoice {
  loop: boolean;
  smooth: boolean;
  speed: number;
}

export class Show {
  readonly element: HTMLElement;
  /** The avatar on the stage; null until it is read. */
  readonly figure = new Signal<Figure | null>(null);
  /** Null before anybody has looked at it, and where there is no WebGL. */
  stage: Stage | null = null;
  answer: MotionResponse | null = null;
  choice: PlayChoice = { loop: true, smooth: true, speed: 1 };
  overlays: Overlays = { skeleton: false, contacts: true, path: true };
  /** Called with each picture. */
  onFrame: () => void = () => {};
  /** Called with what was wrong with an avatar. */
  onError: (error: unknown) => void = console.warn;
  private readonly curtain = h("p", { class: "curtain", role: "status" });
  private avatar: AvatarChoice | null = null;
  private opened = false;

  constructor(private readonly label: string) {
    this.element = h("div", { class: "show" }, h("div", { class: "stage" }), this.curtain);
    this.say(t("avatar.loading"));
  }

  /** Set up what it takes to be seen, the first time that it is. */
  private open(): void {
    if (this.opened) return;
    this.opened = true;
    this.stage = openStage(this.label);
    if (!this.stage) return this.say(t("stage.none"));
    this.element.firstElementChild?.replaceWith(this.stage.element);
    this.stage.follow = () => this.figure.value?.place ?? this.stage!.scene.position;
    this.stage.onFrame = (seconds) => {
      this.figure.value?.update(seconds);
      this.onFrame();
    };
    void this.load();
  }

  get playback(): Playback | null {
    return this.figure.value?.player.playing ?? null;
  }

  setVisible(visible: boolean): void {
    if (visible) this.open();
    this.stage?.setVisible(visible);
  }

  /** Words in front of an empty stage; "" takes them away. */
  say(words: string): void {
    this.curtain.textContent = words;
    show(this.curtain, words !== "");
  }

  /** Put another avatar there; what is played goes on with it. */
  setAvatar(avatar: AvatarChoice): void {
    if (avatar === this.avatar) return;
    this.avatar = avatar;
    if (this.opened) void this.load();
  }

  private async load(): Promise<void> {
    const { avatar, stage } = this;
    if (!avatar || !stage) return;
    try {
      const figure = await Figure.load(await avatar.read());
      if (this.avatar === avatar) this.put(figure, stage);
      else figure.dispose(); // yet another one was chosen meanwhile
    } catch (error) {
      this.onError(error);
    }
  }

  private put(figure: Figure, stage: Stage): void {
    const time = this.playback?.time ?? 0;
    this.figure.value?.dispose();
    stage.scene.add(figure.root);
    this.say("");
    figure.setOverlays(this.overlays);
    this.figure.value = figure;
    if (this.answer) this.play(this.answer, time);
  }

  /** Play an answer from `time`. */
  play(answer: MotionResponse, time = 0): void {
    this.answer = answer;
    const figure = this.figure.value;
    if (!figure) return;
    const { loop, smooth, speed } = this.choice;
    figure.player.play(answer, { loop, hold: true, speed, interpolate: smooth, cut: time > 0 });
    this.playback?.seek(time);
    const { contacts } = answer.metadata;
    figure.contacts = () => contacts[this.playback?.frame ?? 0] ?? null;
    figure.path.set(places(readAnswer(answer), figure), answer.fps);
  }

  setChoice(choice: Partial<PlayChoice>): void {
    Object.assign(this.choice, choice);
    const { playback } = this;
    if (!playback) return;
    Object.assign(playback, { loop: this.choice.loop, interpolate: this.choice.smooth, speed: this.choice.speed });
  }

  setOverlays(overlays: Partial<Overlays>): void {
    Object.assign(this.overlays, overlays);
    this.figure.value?.setOverlays(this.overlays);
  }
}

function openStage(label: string): Stage | null {
  try {
    return new Stage(label);
  } catch (error) {
    console.warn(error);
    return null;
  }
}

/** The way of the hips over the floor on this figure, metres. */
function places({ count, hips }: Motion, figure: Figure): [number, number][] {
  const height = figure.vrm.humanoid.normalizedRestPose.hips?.position?.[1] ?? 1;
  return Array.from({ length: hips ? count : 0 }, (_, i) => [height * hips![3 * i]!, height * hips![3 * i + 2]!]);
}
