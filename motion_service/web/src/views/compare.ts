// Two results of the same words side by side, in step.
import type { App, View } from "../app.ts";
import { h, refill } from "../dom.ts";
import { Making } from "../parts/making.ts";
import { complain } from "../parts/notices.ts";
import { choiceField, fillProviders, numberField, promptBox, providerOptions, valueOf } from "../parts/request.ts";
import { facts, placeholderBanner, warningList } from "../parts/summary.ts";
import { Transport } from "../parts/transport.ts";
import { qualityTable } from "../judge/quality.ts";
import { Show } from "../stage/show.ts";
import { t, type Key } from "../strings.ts";
import type { GenerateRequest, MotionResponse } from "../wire.ts";

const SECONDS = 4;

/** One of the two. */
class Side {
  readonly fields: HTMLElement;
  readonly show: Show;
  readonly about: HTMLElement;
  private readonly providers: HTMLSelectElement;
  private readonly seed: HTMLInputElement;

  constructor(app: App, key: Key, seed: number) {
    this.show = new Show(t(key));
    const [providerField, providers] = choiceField("form.provider", providerOptions(null));
    const [seedField, seedInput] = numberField("form.seed", t("form.random"), { min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 });
    seedInput.value = String(seed);
    [this.providers, this.seed] = [providers, seedInput];
    this.fields = h("fieldset", {}, h("legend", {}, t(key)), h("div", { class: "fields" }, providerField, seedField));
    this.about = h("section", { class: "summary side", "aria-label": t(key) });
    app.facts.watch((now) => fillProviders(this.providers, now));
    this.show.onError = (error) => complain(error, t("avatar.failed"));
    app.avatar.watch((avatar) => this.show.setAvatar(avatar));
  }

  get wish(): Pick<GenerateRequest, "provider" | "seed"> {
    return { provider: this.providers.value as NonNullable<GenerateRequest["provider"]>, seed: valueOf(this.seed) };
  }

  set(answer: MotionResponse): void {
    this.show.play(answer);
    refill(this.about, placeholderBanner(answer), facts(answer), warningList(answer.metadata.warnings), qualityTable(answer.metadata));
  }
}

export class CompareView implements View {
  readonly element: HTMLElement;
  private readonly sides: [Side, Side];
  private readonly transport: Transport;
  private readonly making: Making;
  private readonly box: HTMLTextAreaElement;
  private readonly seconds: HTMLInputElement;
  private readonly submit = h("button", { type: "submit", class: "primary" }, t("compare.run"));

  constructor(private readonly app: App) {
    this.making = new Making(app);
    this.sides = [new Side(app, "compare.a", 1), new Side(app, "compare.b", 2)];
    this.transport = new Transport(this.sides.map(({ show }) => show));
    const [promptField, box] = promptBox("form.prompt", "form.placeholder", () => void this.run());
    const [secondsField, seconds] = numberField("form.seconds", t("form.fromPrompt"), { min: 0.1, max: 120 });
    seconds.value = String(SECONDS);
    [this.box, this.seconds] = [box, seconds];
    const [a, b] = this.sides;
    const form = h(
      "form",
      { class: "panel request comparison" },
      promptField,
      h("div", { class: "two" }, a.fields, b.fields),
      h("div", { class: "actions" }, secondsField, this.submit),
      h("p", { class: "note" }, t("compare.hint")),
      this.making.element,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.run();
    });
    const stages = h("div", { class: "stages" }, a.show.element, b.show.element);
    const card = h("div", { class: "card" }, stages, this.transport.element);
    this.element = h("div", { class: "compare" }, form, card, h("div", { class: "sides" }, a.about, b.about));
  }

  setVisible(visible: boolean): void {
    for (const { show } of this.sides) show.setVisible(visible);
    if (visible) this.linkViews();
  }

  /** Turning one view turns the other. */
  private linkViews(): void {
    const [a, b] = this.sides.map(({ show }) => show.stage);
    if (!a || !b) return;
    a.element.onpointermove = () => b.copyView(a);
    b.element.onpointermove = () => a.copyView(b);
  }

  private async run(): Promise<void> {
    const prompt = this.box.value.trim();
    if (!prompt) return;
    this.submit.disabled = true;
    const common = { prompt, duration_sec: valueOf(this.seconds), avatar: this.app.avatar.value.id, artifacts: [] };
    try {
      const answers = await Promise.all(this.sides.map(({ wish }) => this.making.ask({ ...common, ...wish })));
      answers.forEach((answer, i) => answer && this.sides[i]!.set(answer));
      this.transport.restart();
    } catch (error) {
      complain(error);
    } finally {
      this.submit.disabled = false;
    }
  }
}
