// Measures of a clip beside those of recorded motion.
import { h } from "../dom.ts";
import { n, t, type Key } from "../strings.ts";
import type { MotionMetadata } from "../wire.ts";

const UNITS: Record<string, [unit: string, digits: number, scale: number]> = {
  skate_cm_s: ["cm/s", 1, 1],
  penetration_cm: ["cm", 2, 1],
  float_cm: ["cm", 2, 1],
  jitter_m_s3: ["m/s³", 0, 1],
  self_intersection_cm: ["cm", 2, 1],
  limit_share: ["%", 1, 100],
  hinge_share: ["%", 1, 100],
  plant_share: ["%", 0, 100],
  text_match: ["", 2, 1],
};
/** The least that a whole bar stands for. */
const LEAST: Record<string, number> = { cm: 1, "%": 0.1 };
/** What is only bad above the range, and what is only bad below; the others tell what kind of motion it is. */
const TOO_MUCH = new Set(["skate_cm_s", "penetration_cm", "float_cm", "jitter_m_s3", "self_intersection_cm", "limit_share"]);
const TOO_LITTLE = new Set(["hinge_share"]);

export function qualityTable({ quality, quality_range }: MotionMetadata): HTMLElement {
  const rows = Object.keys(UNITS).flatMap((name) => {
    const value = quality[name];
    const range = quality_range?.[name];
    return value == null || !range ? [] : [row(name, value, range)];
  });
  return h(
    "section",
    { class: "quality" },
    h("h3", {}, t("judge.quality")),
    h("ul", {}, ...rows),
    h("p", { class: "note" }, t("judge.reference")),
  );
}

function row(name: string, value: number, [low, high]: readonly [number, number]): HTMLElement {
  const [unit, digits, scale] = UNITS[name]!;
  const end = TOO_LITTLE.has(name) || high === 1 ? 1 : 1.25 * Math.max(high, value, LEAST[unit] ?? 0);
  const start = high === 1 ? Math.min(0.8 * Math.min(low, value, 0.5), value) : 0;
  const at = (x: number): string => `${(100 * (x - start)) / (end - start || 1)}%`;
  const slack = 0.005 * (end - start);
  const bad = (TOO_MUCH.has(name) && value > high + slack) || (TOO_LITTLE.has(name) && value < low - slack);
  const [range, mark] = [bar("range"), bar("mark")];
  range.style.left = at(low);
  range.style.width = `calc(${at(high)} - ${at(low)})`;
  mark.style.left = at(value);
  const verdict = t(bad ? "judge.outside" : "judge.inside");
  return h(
    "li",
    { class: bad ? "bad" : "good" },
    h("span", { class: "name" }, t(`quality.${name}` as Key)),
    h("span", { class: "track", title: `${verdict}: ${n(low * scale, digits)} – ${n(high * scale, digits)} ${unit}` }, range, mark),
    h("span", { class: "value" }, `${n(value * scale, digits)} ${unit}`, bad && h("span", { class: "visually-hidden" }, ` (${verdict})`)),
  );
}

const bar = (name: string): HTMLElement => h("span", { class: name });
