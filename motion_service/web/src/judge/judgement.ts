// All that can be said of one result, below its stage: quality, curves, files, metadata.
import type { App } from "../app.ts";
import { readAnswer } from "../../player/answer.ts";
import { h, refill, show } from "../dom.ts";
import type { Show } from "../stage/show.ts";
import { t } from "../strings.ts";
import type { MotionResponse } from "../wire.ts";
import { Files } from "./files.ts";
import { readBody } from "./kinematics.ts";
import { measure, type Measures } from "./measures.ts";
import { metadataSection } from "./metadata.ts";
import { Plots } from "./plots.ts";
import { qualityTable } from "./quality.ts";

export class Judgement {
  readonly element: HTMLElement;
  /** What is plotted; null before there is something. */
  measures: Measures | null = null;
  private readonly quality = h("div", {});
  private readonly metadata = h("div", {});
  private readonly plots: Plots;
  private readonly files: Files;

  constructor(
    app: App,
    private readonly player: Show,
    seek: (seconds: number) => void,
    onError: (error: unknown) => void,
  ) {
    this.plots = new Plots(seek);
    this.files = new Files(app.service, onError);
    const curves = h("section", {}, h("h3", {}, t("judge.plots")), this.plots.element);
    this.element = h("div", { class: "judgement" }, this.quality, curves, this.files.element, this.metadata);
    show(this.element, false);
    player.figure.watch(() => this.draw());
  }

  set(answer: MotionResponse): void {
    show(this.element, true);
    refill(this.quality, qualityTable(answer.metadata));
    refill(this.metadata, metadataSection(answer.metadata));
    this.files.set(answer);
    this.draw();
  }

  /** The moment on the screen. */
  mark(): void {
    this.plots.mark(this.player.playback?.time ?? 0);
  }

  /** Curves are those of the avatar on the stage. */
  private draw(): void {
    const { answer, figure } = this.player;
    if (!answer || !figure.value) return;
    this.measures = measure(readAnswer(answer), readBody(figure.value.vrm));
    this.plots.set(this.measures, answer.metadata.contacts);
  }
}
