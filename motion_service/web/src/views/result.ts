// The part that Generate and Judge share: the result on its stage, and all that can be said of it.
import type { App } from "../app.ts";
import { h, refill } from "../dom.ts";
import { Judgement } from "../judge/judgement.ts";
import { icon } from "../parts/icons.ts";
import { complain, notify } from "../parts/notices.ts";
import { facts, placeholderBanner, planChips, warningList } from "../parts/summary.ts";
import { Transport } from "../parts/transport.ts";
import { Show } from "../stage/show.ts";
import { t } from "../strings.ts";
import type { MotionResponse } from "../wire.ts";

export class ResultView {
  readonly element: HTMLElement;
  readonly show = new Show(t("stage.label"));
  private readonly transport = new Transport([this.show]);
  readonly judgement: Judgement;
  private invitation = "";
  private readonly banner = h("div", { class: "slot" });
  private readonly summary = h("div", { class: "summary" });

  constructor(app: App) {
    this.judgement = new Judgement(app, this.show, (seconds) => this.transport.seek(seconds), complain);
    const draw = this.show.onFrame;
    this.show.onFrame = () => {
      draw();
      this.judgement.mark();
    };
    this.element = h(
      "div",
      { class: "result" },
      this.banner,
      h("div", { class: "card stagecard" }, this.show.element, this.transport.element),
      this.summary,
      this.judgement.element,
    );
    this.show.onError = (error) => complain(error, t("avatar.failed"));
    app.avatar.watch((avatar) => this.show.setAvatar(avatar));
    this.show.figure.watch(() => this.invite(this.invitation));
    app.result.watch((answer) => answer && this.set(answer));
  }

  setVisible(visible: boolean): void {
    this.show.setVisible(visible);
  }

  /** Words on the stage while nothing was made. */
  invite(words: string): void {
    this.invitation = words;
    if (this.show.figure.value && !this.show.answer) this.show.say(words);
  }

  private set(answer: MotionResponse): void {
    this.show.play(answer);
    this.show.say("");
    this.transport.restart();
    refill(this.banner, placeholderBanner(answer));
    const { prompt, prompt_plan, warnings } = answer.metadata;
    refill(
      this.summary,
      h("p", { class: "quote" }, prompt),
      planChips(prompt_plan),
      h("div", { class: "row" }, facts(answer), linkButton()),
      warningList(warnings),
    );
    this.judgement.set(answer);
  }
}

function linkButton(): HTMLElement {
  const copy = (): void => {
    navigator.clipboard.writeText(location.href).then(
      () => notify(t("copied")),
      () => notify(location.href),
    );
  };
  return h("button", { type: "button", class: "quiet", onclick: copy }, icon("link"), t("result.link"));
}
