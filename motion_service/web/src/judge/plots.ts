// Curves over time with the moment on the screen; a click goes to another one.
import { h, s } from "../dom.ts";
import { n, t } from "../strings.ts";
import type { Measures, Series } from "./measures.ts";

const WIDTH = 600;
const HEIGHT = 96;
const FLOOR = 3; // cm, below which a foot counts as low

interface Curve {
  values: Series;
  kind: "left" | "right" | "middle";
}

export class Plots {
  readonly element = h("div", { class: "plots" });
  private cursors: SVGLineElement[] = [];
  private duration = 0;

  constructor(private readonly seek: (seconds: number) => void) {}

  /** `contacts` as in `metadata.contacts`. */
  set(measures: Measures, contacts: readonly (readonly number[])[]): void {
    const { height, speed, jerk, count, fps } = measures;
    this.duration = Math.max(count - 1, 1) / fps;
    this.cursors = [];
    const sides = ([left, right]: [Series, Series]): Curve[] => [
      { values: left, kind: "left" },
      { values: right, kind: "right" },
    ];
    this.element.replaceChildren(
      legend(),
      this.plot(t("plot.height"), "cm", sides(height), 12, contacts, FLOOR),
      this.plot(t("plot.speed"), "cm/s", sides(speed), 60, contacts),
      this.plot(t("plot.jerk"), "m/s³", [{ values: jerk, kind: "middle" }], 60, []),
    );
  }

  /** The moment on the screen, seconds. */
  mark(seconds: number): void {
    const x = String((WIDTH * Math.min(seconds, this.duration)) / (this.duration || 1));
    for (const cursor of this.cursors) {
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
    }
  }

  private plot(
    name: string,
    unit: string,
    curves: readonly Curve[],
    least: number,
    contacts: readonly (readonly number[])[],
    level: number | null = null,
  ): HTMLElement {
    const all = curves.flatMap(({ values }) => [...values]);
    const [low, high] = [Math.min(0, ...all), Math.max(least, ...all)];
    const y = (value: number): number => HEIGHT - 4 - ((HEIGHT - 12) * (value - low)) / (high - low);
    const cursor = s("line", { class: "cursor", y1: 0, y2: HEIGHT, x1: 0, x2: 0 });
    this.cursors.push(cursor);
    const summary = `${name}: ${n(Math.max(...all), 1)} ${unit}`;
    const drawing = s(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": summary },
      ...bands(contacts),
      s("line", { class: "zero", x1: 0, x2: WIDTH, y1: y(0), y2: y(0) }),
      level !== null && s("line", { class: "level", x1: 0, x2: WIDTH, y1: y(level), y2: y(level) }),
      ...curves.map(({ values, kind }) => s("path", { class: `curve ${kind}`, d: path(values, y) })),
      cursor,
    );
    drawing.addEventListener("click", ({ clientX }) => {
      const { left, width } = drawing.getBoundingClientRect();
      this.seek((this.duration * (clientX - left)) / width);
    });
    const caption = h("figcaption", {}, h("span", {}, name), h("span", { class: "unit" }, `${n(high, high < 10 ? 1 : 0)} ${unit}`));
    return h("figure", { title: t("plot.seek") }, caption, drawing);
  }
}

function path(values: Series, y: (value: number) => number): string {
  const step = WIDTH / Math.max(values.length - 1, 1);
  return [...values].map((value, i) => `${i ? "L" : "M"}${(i * step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
}

/** Strips along the lower edge where a foot stands: left above right. */
function bands(contacts: readonly (readonly number[])[]): SVGRectElement[] {
  const step = WIDTH / Math.max(contacts.length, 1);
  return ([0, 2] as const).flatMap((first, row) => {
    const stands = contacts.map((four) => Math.max(four[first] ?? 0, four[first + 1] ?? 0) > 0.5);
    return runs(stands).map(([from, to]) =>
      s("rect", { class: `band ${row ? "right" : "left"}`, x: from * step, width: (to - from) * step, y: HEIGHT - 6 + 3 * row, height: 3 }),
    );
  });
}

/** Where values are true: [first, one after the last]. */
function runs(values: readonly boolean[]): [number, number][] {
  const found: [number, number][] = [];
  values.forEach((value, i) => {
    if (!value) return;
    const last = found.at(-1);
    if (last && last[1] === i) last[1] = i + 1;
    else found.push([i, i + 1]);
  });
  return found;
}

const legend = (): HTMLElement =>
  h(
    "p",
    { class: "legend" },
    h("span", { class: "key left" }, t("plot.left")),
    h("span", { class: "key right" }, t("plot.right")),
    h("span", { class: "key band" }, t("plot.contact")),
  );
