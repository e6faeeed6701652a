// What a result is at a glance: a banner when no model made it, facts, what was understood, warnings.
import { h, type Child } from "../dom.ts";
import { actionName, n, t, tOr } from "../strings.ts";
import type { MotionResponse, PromptPlanOut } from "../wire.ts";
import { icon } from "./icons.ts";
import { reasonText } from "./request.ts";

/** Null for what a model made. */
export function placeholderBanner({ fallback_used, metadata }: MotionResponse): HTMLElement | null {
  if (!fallback_used) return null;
  return h(
    "div",
    { class: "banner", role: "alert" },
    icon("warning"),
    h(
      "div",
      {},
      h("strong", {}, t("placeholder.title")),
      h("p", {}, `${t("placeholder.text")} ${t("placeholder.reason", { reason: reasonText(metadata.fallback_reason ?? "") })}`),
    ),
  );
}

/** Who made it, how, and how long it took. */
export function facts({ fps, duration_sec, metadata }: MotionResponse): HTMLElement {
  const { generator, seed, steps, guidance_param: guidance, timings_ms } = metadata;
  const total = timings_ms["total"];
  return h(
    "ul",
    { class: "facts" },
    h("li", { class: "strong" }, generator),
    h("li", {}, `${n(duration_sec, 2)} s · ${n(fps, 2)} fps`),
    h("li", {}, t("result.seed", { seed })),
    steps > 0 && h("li", {}, t("result.steps", { steps })),
    h("li", {}, t("result.guidance", { guidance: n(guidance, 2) })),
    total !== undefined && h("li", {}, t("result.took", { ms: n(total) })),
  );
}

/** The actions of a prompt, in order. */
export function planChips(plan: PromptPlanOut): HTMLElement {
  const chips = plan.segments.map(({ text, action, detail, seconds }) => {
    const name = action === "none" ? t("plan.none") : action === null ? t("plan.unknown") : actionName(action);
    const more = [...detail.map(actionName), ...(seconds === null ? [] : [`${n(seconds, 2)} s`])];
    return h("li", { title: text }, h("b", {}, name), more.length > 0 && ` ${more.join(", ")}`);
  });
  return h("ul", { class: "plan", "aria-label": t("plan.title") }, ...(chips.length ? chips : [h("li", {}, t("plan.idle"))]));
}

export function warningList(warnings: readonly string[]): HTMLElement | null {
  if (warnings.length === 0) return null;
  const items: Child[] = warnings.map((text) => h("li", {}, text));
  return h("details", { class: "warnings" }, h("summary", {}, `${t("result.warnings")} (${warnings.length})`), h("ul", {}, ...items));
}

export const generatorName = (name: string): string => tOr(`health.${name}`, name);
