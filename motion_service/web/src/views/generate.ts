// Type a prompt, watch what comes of it.
import type { App, View } from "../app.ts";
import { h } from "../dom.ts";
import { AvatarPicker } from "../parts/avatars.ts";
import { Making } from "../parts/making.ts";
import { complain } from "../parts/notices.ts";
import { RequestForm } from "../parts/request.ts";
import { t } from "../strings.ts";
import type { GenerateRequest } from "../wire.ts";
import type { ResultView } from "./result.ts";

export class GenerateView implements View {
  readonly element: HTMLElement;
  private readonly form: RequestForm;
  private readonly making: Making;

  constructor(
    private readonly app: App,
    private readonly result: ResultView,
  ) {
    this.making = new Making(app);
    this.form = new RequestForm((request) => void this.ask(request), this.making.element);
    const side = h("section", { class: "panel", "aria-label": t("nav.generate") }, this.form.element, new AvatarPicker(app).element);
    this.element = h("div", { class: "split" }, side);
    app.facts.watch((facts) => this.form.setFacts(facts));
  }

  setVisible(visible: boolean): void {
    if (visible) {
      this.element.append(this.result.element);
      this.result.invite(t("stage.empty"));
      if (matchMedia("(pointer: fine)").matches) this.form.focus();
    }
  }

  private async ask(request: GenerateRequest): Promise<void> {
    this.form.setBusy(true);
    try {
      const answer = await this.making.ask({ ...request, avatar: this.app.avatar.value.id });
      if (answer) this.app.result.value = answer;
    } catch (error) {
      complain(error);
    } finally {
      this.form.setBusy(false);
    }
  }
}
