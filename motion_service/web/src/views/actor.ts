// One avatar on its stage that follows a live stream of its own.
import { LiveStream, type LiveState } from "../../player/live.ts";
import type { PromptApplied, ServerMessage } from "../../player/messages.ts";
import type { App } from "../app.ts";
import { complain, notify } from "../parts/notices.ts";
import { Signal } from "../signal.ts";
import { Show } from "../stage/show.ts";
import { t } from "../strings.ts";

const LONGEST = 8000; // ms, for an answer to a message

/** What a stream begins with. */
export interface Beginning {
  prompt?: string;
  provider?: "auto" | "mini" | "dip";
}

export class Actor {
  readonly show: Show;
  readonly state = new Signal<LiveState>("ended");
  /** Called with what the service says. */
  onMessage: (message: ServerMessage) => void = () => {};
  private stream: LiveStream | null = null;
  private readonly waiting = new Set<(message: ServerMessage) => void>();

  constructor(
    private readonly app: App,
    label: string,
  ) {
    this.show = new Show(label);
    this.show.setOverlays({ contacts: false });
    this.show.onError = (error) => complain(error, t("avatar.failed"));
    this.show.figure.watch((figure) => figure?.player.follow(this.stream));
    app.avatar.watch((avatar) => this.useAvatar(avatar));
  }

  /** What is followed; null: nothing. */
  get live(): LiveStream | null {
    return this.stream;
  }

  get fps(): number {
    return this.stream?.facts?.fps ?? 20;
  }

  /** Seconds of the stream that the screen has come to. */
  get seconds(): number {
    return (this.stream?.status.frame ?? 0) / this.fps;
  }

  start(beginning: Beginning = {}): void {
    const { service, avatar } = this.app;
    this.show.figure.value?.path.clear();
    this.stream = new LiveStream(service.base, {
      ...beginning,
      avatar: avatar.value.id,
      expressions: true,
      ...(service.key !== null && { key: service.key }),
      onMessage: (message) => this.take(message),
      onState: (state) => this.enter(state),
    });
    this.show.figure.value?.player.follow(this.stream);
    this.enter("connecting");
  }

  stop(): void {
    this.stream?.close();
    this.stream = null;
    this.show.figure.value?.player.follow(null);
    this.enter("ended");
  }

  setVisible(visible: boolean): void {
    this.show.setVisible(visible);
    if (visible) this.stream?.resume();
    else this.stream?.pause();
  }

  /** Say a message of the stream's; what came of it. Null when it came to nothing within some seconds. */
  async ask<M extends { readonly type: string }>(message: M): Promise<PromptApplied | null> {
    const answer = this.nextApplied(message.type);
    return this.stream?.tell(message) ? answer : null;
  }

  private nextApplied(reason: string): Promise<PromptApplied | null> {
    return new Promise((resolve) => {
      const stop = (applied: PromptApplied | null): void => {
        clearTimeout(timer);
        this.waiting.delete(watcher);
        resolve(applied);
      };
      const timer = setTimeout(() => stop(null), LONGEST);
      const watcher = (message: ServerMessage): void => {
        if (message.type === "prompt_applied" && message.reason === reason) stop(message);
      };
      this.waiting.add(watcher);
    });
  }

  private take(message: ServerMessage): void {
    for (const watcher of [...this.waiting]) watcher(message);
    if (message.type === "error") notify(message.problem.detail ?? "", "error", message.problem.title);
    this.onMessage(message);
  }

  private enter(state: LiveState): void {
    if (state === "ended") this.stream = null;
    this.state.value = state;
  }

  /** A stream is for one body: another one begins anew. */
  private useAvatar(avatar: App["avatar"]["value"]): void {
    const wasLive = this.stream !== null;
    this.stop();
    this.show.setAvatar(avatar);
    if (wasLive) this.start();
  }
}
