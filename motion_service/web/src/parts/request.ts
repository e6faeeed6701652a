// The form of one request: words, and every option that matters, each empty where the service is to decide.
import { h, newId, type Child } from "../dom.ts";
import { examples, t, tOr, type Key } from "../strings.ts";
import type { DiagnosticsOut, GenerateRequest } from "../wire.ts";

type Provider = NonNullable<GenerateRequest["provider"]>;

/** A number field; empty: not said. */
export function numberField(key: Key, empty: string, bounds: { min: number; max: number; step?: number }): [HTMLElement, HTMLInputElement] {
  const id = newId();
  const input = h("input", { id, type: "number", inputmode: "decimal", placeholder: empty, step: "any", ...bounds });
  return [h("div", { class: "field" }, h("label", { for: id }, t(key)), input), input];
}

/** A choice out of a few. */
export function choiceField(key: Key, options: readonly (readonly [string, string])[]): [HTMLElement, HTMLSelectElement] {
  const id = newId();
  const select = h("select", { id }, ...options.map(([value, text]) => h("option", { value }, text)));
  return [h("div", { class: "field" }, h("label", { for: id }, t(key)), select), select];
}

/** The engines that are loaded, the choice that the service makes, and the placeholder. */
export function providerOptions(facts: DiagnosticsOut | null): [string, string][] {
  const loaded = facts?.providers ?? [];
  const known = ["mdm", "mdm-encoder", "dip", "mini"].filter((name) => loaded.includes(name));
  return [["auto", t("form.auto")], ...known.map((name): [string, string] => [name, name]), ["placeholder", t("health.placeholder")]];
}

/** Fill a choice of engines anew; what was chosen stays. */
export function fillProviders(select: HTMLSelectElement, facts: DiagnosticsOut | null): void {
  const chosen = select.value || "auto";
  const options = providerOptions(facts);
  select.replaceChildren(...options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
}

export const valueOf = (input: HTMLInputElement): number | null => (input.value === "" ? null : input.valueAsNumber);

/** A text box that Enter sends; Shift and Enter begin a new line. */
export function promptBox(key: Key, placeholder: Key, send: () => void): [HTMLElement, HTMLTextAreaElement] {
  const id = newId();
  const box = h("textarea", { id, rows: 2, maxlength: 2000, placeholder: t(placeholder), autocomplete: "off" });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return; // Enter also ends Japanese input
    event.preventDefault();
    send();
  });
  return [h("div", { class: "field wide" }, h("label", { for: id }, t(key)), box), box];
}

export class RequestForm {
  readonly element: HTMLFormElement;
  private readonly box: HTMLTextAreaElement;
  private readonly providers: HTMLSelectElement;
  private readonly numbers: Record<"duration_sec" | "seed" | "guidance" | "steps" | "fps", HTMLInputElement>;
  private readonly root: HTMLSelectElement;
  private readonly checks: Record<"interpolate" | "settle" | "foot_lock" | "expressions" | "loop", HTMLInputElement>;
  private readonly submit = h("button", { type: "submit", class: "primary" }, t("form.generate"));

  constructor(onSubmit: (request: GenerateRequest) => void, ...below: Child[]) {
    const send = (): void => {
      if (this.box.value.trim() && this.element.reportValidity()) onSubmit(this.request());
    };
    const [promptField, box] = promptBox("form.prompt", "form.placeholder", send);
    const [providerField, providers] = choiceField("form.provider", providerOptions(null));
    const [secondsField, duration_sec] = numberField("form.seconds", t("form.fromPrompt"), { min: 0.1, max: 120 });
    const [seedField, seed] = numberField("form.seed", t("form.random"), { min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 });
    const [guidanceField, guidance] = numberField("form.guidance", t("form.own"), { min: 0, max: 100 });
    const [stepsField, steps] = numberField("form.steps", t("form.own"), { min: 1, max: 200, step: 1 });
    const [fpsField, fps] = numberField("form.fps", "20", { min: 1, max: 120 });
    const roots = (["free", "bounded", "in_place"] as const).map((name) => [name, t(`form.root.${name}`)] as const);
    const [rootField, root] = choiceField("form.root", roots);
    this.checks = { interpolate: check(true), settle: check(), foot_lock: check(true), expressions: check(true), loop: check() };
    [this.box, this.providers, this.root] = [box, providers, root];
    this.numbers = { duration_sec, seed, guidance, steps, fps };
    this.element = h(
      "form",
      { class: "request", novalidate: false },
      promptField,
      this.examples(),
      h("div", { class: "fields" }, providerField, secondsField, seedField, fpsField),
      h(
        "details",
        {},
        h("summary", {}, t("form.more")),
        h("div", { class: "fields" }, guidanceField, stepsField, rootField),
        h(
          "div",
          { class: "checks" },
          label(this.checks.foot_lock, "form.footLock"),
          label(this.checks.expressions, "form.expressions"),
          label(this.checks.settle, "form.settle"),
          label(this.checks.loop, "form.loop"),
          label(this.checks.interpolate, "form.interpolate"),
        ),
      ),
      h("div", { class: "actions" }, this.submit),
      ...below,
    );
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      send();
    });
  }

  setFacts(facts: DiagnosticsOut | null): void {
    fillProviders(this.providers, facts);
  }

  setBusy(busy: boolean): void {
    this.submit.disabled = busy;
  }

  focus(): void {
    this.box.focus({ preventScroll: true });
  }

  /** Put in what an answer was asked for. */
  fill(prompt: string): void {
    this.box.value = prompt;
  }

  /** What is asked for; what was left empty is not said. */
  request(): GenerateRequest {
    const said = Object.entries(this.numbers).flatMap(([name, input]) => {
      const value = valueOf(input);
      return value === null ? [] : [[name, value] as const];
    });
    return {
      prompt: this.box.value.trim(),
      provider: this.providers.value as Provider,
      ...Object.fromEntries(said),
      ...Object.fromEntries(Object.entries(this.checks).map(([name, input]) => [name, input.checked])),
      root: this.root.value as NonNullable<GenerateRequest["root"]>,
      artifacts: ["vrm-json", "npy", "mp4", "vrma", "bvh"],
    };
  }

  private examples(): HTMLElement {
    const take = (text: string) => (): void => {
      this.box.value = text;
      this.box.focus();
    };
    const chips = examples.map((text) => h("button", { type: "button", class: "chip", onclick: take(text) }, text));
    return h("div", { class: "examples", role: "group", "aria-label": t("form.examples") }, ...chips);
  }
}

const check = (checked = false): HTMLInputElement => h("input", { type: "checkbox", checked });

const label = (input: HTMLInputElement, key: Key): HTMLElement => h("label", { class: "check" }, input, h("span", {}, t(key)));

export const reasonText = (reason: string): string => tOr(`reason.${reason}`, reason);
