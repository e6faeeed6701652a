// Elements in one expression: h("button", { class: "quiet", onclick: stop }, "Stop").
export type Child = Node | string | number | null | undefined | false;
export type Props = Readonly<Record<string, unknown>>;

const SVG = "http://www.w3.org/2000/svg";

/** A HTML element. Functions become listeners (`onclick`), true an attribute without value; null and false are left out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function s<K extends keyof SVGElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill<E extends Element>(element: E, props: Props, children: readonly Child[]): E {
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...nodes(children));
  return element;
}

/** Put other children in. */
export function refill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...nodes(children));
}

const nodes = (children: readonly Child[]): (Node | string)[] =>
  children
    .filter((child): child is Node | string | number => child !== null && child !== undefined && child !== false)
    .map((child) => (typeof child === "number" ? String(child) : child));

/** Show or hide; what is hidden is not read aloud either. */
export function show(element: HTMLElement, visible: boolean): void {
  element.hidden = !visible;
}

let last = 0;
/** An id that no other element has. */
export const newId = (): string => `id-${++last}`;
