// What all views share.
import type { Feed } from "./feed.ts";
import type { Service } from "./service.ts";
import type { Signal } from "./signal.ts";
import type { AvatarChoice } from "./stage/avatar.ts";
import type { DiagnosticsOut, MotionResponse } from "./wire.ts";

export interface App {
  readonly service: Service;
  readonly feed: Feed;
  /** How the service is; null before it was asked. */
  readonly facts: Signal<DiagnosticsOut | null>;
  /** Whom requests are for, and who plays them. */
  readonly avatar: Signal<AvatarChoice>;
  /** The motion being looked at. */
  readonly result: Signal<MotionResponse | null>;
}

/** One of the tabs. */
export interface View {
  readonly element: HTMLElement;
  /** It is seen from now on, or no longer: what is not seen draws nothing and asks nothing. */
  setVisible(visible: boolean): void;
}
