// One request on its way: asked for, followed through queue and steps, given up on demand.
import type { App } from "../app.ts";
import { h, show } from "../dom.ts";
import { t } from "../strings.ts";
import type { DiagnosticsEvent, GenerateRequest, MotionResponse } from "../wire.ts";

export class Making {
  readonly element: HTMLElement;
  private readonly bar = h("progress", { max: 1 });
  private readonly words = h("span", {});
  private readonly stop = new Set<AbortController>();

  constructor(private readonly app: App) {
    const cancel = h("button", { type: "button", class: "quiet", onclick: () => this.cancel() }, t("cancel"));
    this.element = h("div", { class: "making", role: "status" }, this.words, this.bar, cancel);
    show(this.element, false);
  }

  /** The answer; null when it was given up. Throws a ServiceError. */
  async ask(request: GenerateRequest): Promise<MotionResponse | null> {
    const requestId = `page-${crypto.randomUUID()}`;
    const control = new AbortController();
    const ignore = this.app.feed.listen((event) => this.follow(event, requestId));
    this.stop.add(control);
    show(this.element, true);
    this.tell(t("wait.next"), null);
    try {
      return await this.app.service.generate(request, requestId, control.signal);
    } catch (error) {
      if (control.signal.aborted) return null;
      throw error;
    } finally {
      ignore();
      this.stop.delete(control);
      show(this.element, this.stop.size > 0);
    }
  }

  cancel(): void {
    for (const control of this.stop) control.abort();
  }

  private follow(event: DiagnosticsEvent, requestId: string): void {
    if (!("request_id" in event) || event.request_id !== requestId) return;
    if (event.type === "job_queued") {
      this.tell(event.position ? t("wait.queued", { count: event.position }) : t("wait.next"), null);
    } else if (event.type === "job_step") {
      const { done, steps } = event;
      this.tell(done < steps ? t("wait.step", { done, steps }) : t("wait.finish"), steps ? done / steps : null);
    }
  }

  private tell(words: string, share: number | null): void {
    this.words.textContent = words;
    this.bar.setAttribute("aria-label", words);
    if (share === null) this.bar.removeAttribute("value");
    else this.bar.value = share;
  }
}
