// The Diagnostics page: type, watch, judge.
import "./style.css";

import type { App, View } from "./app.ts";
import { h, show } from "./dom.ts";
import { Feed } from "./feed.ts";
import { takeDrops } from "./parts/avatars.ts";
import { askForKey, mountNotices } from "./parts/notices.ts";
import { Service } from "./service.ts";
import { Signal } from "./signal.ts";
import { mannequin } from "./stage/avatar.ts";
import { language, t } from "./strings.ts";
import { CompareView } from "./views/compare.ts";
import { GenerateView } from "./views/generate.ts";
import { HealthView } from "./views/health.ts";
import { JudgeView } from "./views/judge.ts";
import { LiveView } from "./views/live.ts";
import { ResultView } from "./views/result.ts";

const NAMES = ["generate", "live", "compare", "judge", "health"] as const;
type Name = (typeof NAMES)[number];

function newApp(): App {
  const service = new Service();
  service.askForKey = askForKey;
  return {
    service,
    feed: new Feed(service),
    facts: new Signal<App["facts"]["value"]>(null),
    avatar: new Signal(mannequin(service)),
    result: new Signal<App["result"]["value"]>(null),
  };
}

/** Name and links at the top, and whether the service is there. */
function header(app: App): HTMLElement {
  const links = NAMES.map((name) => h("a", { href: `#${name}`, "data-view": name }, t(`nav.${name}`)));
  const state = h("span", { class: "connection", role: "status" });
  app.feed.state.watch((now) => {
    state.className = `connection ${now}`;
    state.textContent = t(`state.${now}`);
  });
  return h(
    "header",
    {},
    h("a", { class: "skip", href: "#main" }, t("skip")),
    h("span", { class: "brand" }, t("brand")),
    h("nav", { "aria-label": t("nav.label") }, ...links),
    state,
  );
}

function start(): void {
  document.documentElement.lang = language;
  document.title = t("brand");
  const app = newApp();
  const result = new ResultView(app);
  const judge = new JudgeView(app, result);
  const live = new LiveView(app);
  const compare = new CompareView(app);
  const views: Record<Name, View> = { generate: new GenerateView(app, result), live, compare, judge, health: new HealthView(app) };
  const main = h("main", { id: "main", tabindex: -1 }, ...Object.values(views).map(({ element }) => element));
  const footer = h("footer", {}, h("a", { href: "licences.md" }, t("foot.licences")));
  document.body.append(header(app), main, footer);
  mountNotices();
  takeDrops(app);

  const open = (name: Name): void => {
    for (const other of NAMES) {
      show(views[other].element, other === name);
      if (other !== name) views[other].setVisible(false);
    }
    views[name].setVisible(true);
    result.setVisible(name === "generate" || name === "judge");
    for (const link of document.querySelectorAll<HTMLElement>("nav a")) {
      if (link.dataset["view"] === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  };
  const named = (): Name => NAMES.find((name) => location.hash === `#${name}`) ?? "generate";
  addEventListener("hashchange", () => location.hash !== "#main" && open(named()));
  const job = new URLSearchParams(location.search).get("job");
  open(job && !location.hash ? "judge" : named());
  if (job) void judge.open(job);

  app.result.watch((answer) => {
    if (!answer) return;
    const url = new URL(location.href);
    url.searchParams.set("job", answer.job_id);
    history.replaceState(null, "", url);
  });
  void app.service.diagnostics().then((facts) => (app.facts.value = facts), () => {});
  app.feed.connect();
  Object.assign(globalThis, { diagnostics: { app, result, live, compare } }); // for the console, and for tests
}

start();
