// What happens in the service, as it happens: WS /v1/diagnostics/events, taken up again when it breaks.
import type { Service } from "./service.ts";
import { Signal } from "./signal.ts";
import type { DiagnosticsEvent } from "./wire.ts";

const RETRY = [0.5, 10]; // seconds: shortest and longest wait

export type FeedState = "connecting" | "open" | "lost";

export class Feed {
  readonly state = new Signal<FeedState>("connecting");
  private readonly listeners = new Set<(event: DiagnosticsEvent) => void>();
  private failures = 0;

  constructor(private readonly service: Service) {}

  /** Call `listener` for each event; the answer ends it. */
  listen(listener: (event: DiagnosticsEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  connect(): void {
    const socket = this.service.socket("v1/diagnostics/events");
    socket.onopen = () => {
      this.failures = 0;
      this.state.value = "open";
    };
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data as string) as DiagnosticsEvent;
      for (const listener of [...this.listeners]) listener(event);
    };
    socket.onclose = () => {
      this.state.value = "lost";
      const [shortest, longest] = RETRY as [number, number];
      const wait = Math.min(shortest * 2 ** this.failures++, longest) * (0.5 + Math.random() / 2);
      setTimeout(() => this.connect(), 1000 * wait);
    };
  }
}
