// Words that come and go at the lower edge, and the question for the key.
import { h } from "../dom.ts";
import { ServiceError } from "../service.ts";
import { t } from "../strings.ts";

const SECONDS = 8;

const corner = h("div", { class: "notices", role: "status", "aria-live": "polite" });

export function mountNotices(): void {
  document.body.append(corner);
}

export function notify(text: string, kind: "info" | "error" = "info", title = ""): void {
  const close = (): void => note.remove();
  const note = h(
    "div",
    { class: `notice ${kind}` },
    h("div", {}, title && h("strong", {}, title), h("p", {}, text)),
    h("button", { type: "button", class: "quiet", "aria-label": t("close"), onclick: close }, "×"),
  );
  corner.append(note);
  setTimeout(close, 1000 * SECONDS);
}

/** Say what went wrong, in the service's own words where it gave some. */
export function complain(error: unknown, title = t("error.title")): void {
  if (error instanceof ServiceError) return notify(error.message, "error", error.problem?.title ?? title);
  console.warn(error);
  notify(error instanceof TypeError && !/fetch/i.test(error.message) ? error.message : t("error.network"), "error", title);
}

/** The key that the service wants; null: the user has none. */
export function askForKey(): Promise<string | null> {
  const input = h("input", { type: "password", name: "key", required: true, autocomplete: "off", "aria-label": t("key.label") });
  const dialog = h(
    "dialog",
    { "aria-label": t("key.title") },
    h(
      "form",
      { method: "dialog" },
      h("h2", {}, t("key.title")),
      h("p", {}, t("key.text")),
      input,
      h("div", { class: "actions" }, h("button", { class: "primary", value: "ok" }, t("key.send"))),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "ok" && input.value ? input.value : null);
    });
  });
}
