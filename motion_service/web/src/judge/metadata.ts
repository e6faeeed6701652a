// Metadata as text, whole: lists of numbers in one line each.
import { h } from "../dom.ts";
import { t } from "../strings.ts";

const MOST_NUMBERS = 12; // of a list of lists that are shown before the rest is opened

export function metadataText(value: unknown): string {
  return write(value, "");
}

function write(value: unknown, indent: string): string {
  if (Array.isArray(value)) {
    if (value.every((item) => typeof item !== "object" || item === null)) return `[${value.map((item) => JSON.stringify(item)).join(", ")}]`;
    return block("[", "]", value.map((item) => write(item, `${indent}  `)), indent);
  }
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const fields = Object.entries(value).map(([name, field]) => `${JSON.stringify(name)}: ${write(field, `${indent}  `)}`);
  return block("{", "}", fields, indent);
}

const block = (open: string, close: string, lines: readonly string[], indent: string): string =>
  lines.length ? `${open}\n${lines.map((line) => `${indent}  ${line}`).join(",\n")}\n${indent}${close}` : open + close;

/** The whole of it, the contacts of each frame behind a second door. */
export function metadataSection(metadata: Readonly<Record<string, unknown>>): HTMLElement {
  const { contacts, ...rest } = metadata;
  const rows = Array.isArray(contacts) ? contacts : [];
  const text = (value: unknown): HTMLElement => h("pre", { tabindex: 0 }, metadataText(value));
  return h(
    "details",
    { class: "metadata" },
    h("summary", {}, t("judge.metadata")),
    text(rest),
    rows.length > MOST_NUMBERS ? h("details", {}, h("summary", {}, `contacts (${rows.length})`), text(contacts)) : text({ contacts }),
  );
}
