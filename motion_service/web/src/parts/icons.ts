// Small drawings, 20 by 20; they say nothing to those who cannot see them.
import { s } from "../dom.ts";

const PATHS = {
  play: "M6 4.500v11l9-5.500z",
  pause: "M6 4.500h3v11H6zM11 4.500h3v11h-3z",
  reset: "M10 4a6 6 0 1 1-5.700 4.100l1.400.500A4.500 4.500 0 1 0 10 5.500V8L6.200 4.800 10 1.600z",
  download: "M9.200 3h1.600v7l2.500-2.500 1.100 1.100L10 13 5.600 8.600l1.100-1.100L9.200 10zM4 15h12v1.600H4z",
  link: "M8.800 12.600 7.200 14.200a2.400 2.400 0 0 1-3.400-3.400l2.800-2.800a2.400 2.400 0 0 1 3.400 0l1.100-1.100a4 4 0 0 0-5.600 0L2.700 9.700a4 4 0 0 0 5.600 5.600l1.600-1.600zM11.200 7.400l1.600-1.600a2.400 2.400 0 0 1 3.400 3.400l-2.800 2.800a2.400 2.400 0 0 1-3.400 0l-1.100 1.100a4 4 0 0 0 5.600 0l2.800-2.800a4 4 0 0 0-5.600-5.600l-1.600 1.600z",
  warning: "M10 2.500 18.500 17h-17zM9.200 8v4.500h1.600V8zm0 5.700v1.600h1.600v-1.600z",
} as const;

export function icon(name: keyof typeof PATHS): SVGSVGElement {
  const path = s("path", { d: PATHS[name], "fill-rule": "evenodd" });
  return s("svg", { viewBox: "0 0 20 20", width: 20, height: 20, fill: "currentColor", "aria-hidden": "true" }, path);
}
