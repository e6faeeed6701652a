// Look at what was made before: the latest jobs, each by its picture.
import type { App, View } from "../app.ts";
import { h } from "../dom.ts";
import { JobsList } from "../judge/jobs.ts";
import { complain } from "../parts/notices.ts";
import { ServiceError } from "../service.ts";
import { t } from "../strings.ts";
import type { MotionResponse } from "../wire.ts";
import type { ResultView } from "./result.ts";

export class JudgeView implements View {
  readonly element: HTMLElement;
  private readonly jobs: JobsList;

  constructor(
    private readonly app: App,
    private readonly result: ResultView,
  ) {
    this.jobs = new JobsList(app, (id) => void this.open(id));
    this.element = h("div", { class: "split" }, this.jobs.element);
    app.result.watch((answer) => this.jobs.select(answer?.job_id ?? ""));
  }

  setVisible(visible: boolean): void {
    if (visible) {
      this.element.append(this.result.element);
      this.result.invite(t("judge.pick"));
    }
    this.jobs.setVisible(visible);
  }

  /** Show a job by its id, as a link names it. */
  async open(id: string): Promise<void> {
    try {
      this.app.result.value = await this.find(id);
    } catch (error) {
      const isGone = error instanceof ServiceError && error.status === 404;
      complain(error, isGone ? t("judge.forgotten") : undefined);
    }
  }

  /** The service forgets old jobs, and all of them when it starts anew; their files stay. */
  private async find(id: string): Promise<MotionResponse> {
    const { service } = this.app;
    try {
      const { metadata } = await service.job(id);
      return await service.answer(String(metadata["url"]));
    } catch (error) {
      if (!(error instanceof ServiceError) || error.status !== 404) throw error;
      const { files } = await service.diagnostics();
      return service.answer(`${files}/${encodeURIComponent(id)}.json`);
    }
  }
}
