// Whose body it is: the mannequin, or a .vrm that is chosen or dropped anywhere on the page.
import type { App } from "../app.ts";
import { h, refill, show } from "../dom.ts";
import { t } from "../strings.ts";
import { mannequin, uploadAvatar } from "../stage/avatar.ts";
import { complain, notify } from "./notices.ts";

export class AvatarPicker {
  readonly element: HTMLElement;
  private readonly name = h("span", { class: "name" });
  private readonly warnings = h("ul", { class: "note" });

  constructor(app: App) {
    const input = h("input", { type: "file", accept: ".vrm,model/gltf-binary", class: "visually-hidden", tabindex: -1 });
    input.addEventListener("change", () => {
      const file = input.files?.[0];
      if (file) void useFile(app, file);
      input.value = "";
    });
    const choose = h("button", { type: "button", class: "quiet", onclick: () => input.click() }, t("avatar.choose"));
    const home = mannequin(app.service);
    const back = h("button", { type: "button", class: "quiet", onclick: () => (app.avatar.value = home) }, t("avatar.back"));
    const label = h("span", { class: "label" }, t("avatar.label"));
    this.element = h("div", { class: "avatar" }, label, this.name, choose, back, input, this.warnings);
    app.avatar.watch((avatar) => {
      refill(this.name, avatar.id === "none" ? t("avatar.mannequin") : `${avatar.name} · VRM ${avatar.version}`);
      show(back, avatar.id !== "none");
      refill(this.warnings, ...avatar.warnings.map((text) => h("li", {}, text)));
    });
  }
}

async function useFile(app: App, file: File): Promise<void> {
  try {
    notify(t("avatar.loading"));
    app.avatar.value = await uploadAvatar(app.service, file);
  } catch (error) {
    complain(error, t("avatar.failed"));
  }
}

/** Take a .vrm that is dropped anywhere. */
export function takeDrops(app: App): void {
  const curtain = h("div", { class: "drop" }, h("p", {}, t("avatar.drop")));
  show(curtain, false);
  document.body.append(curtain);
  const isFile = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
  addEventListener("dragover", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    show(curtain, true);
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) show(curtain, false);
  });
  addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    show(curtain, false);
    const file = event.dataTransfer?.files[0];
    if (file) void useFile(app, file);
  });
}
