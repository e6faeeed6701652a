// A live stream of the service: keeps the connection, says what is on the screen, and keeps the frames that come.
import { readChunk } from "./chunk.ts";
import { readMessage, type PromptApplied, type ServerMessage, type Started } from "./messages.ts";
import type { Pose } from "./pose.ts";
import { Reel } from "./reel.ts";
import type { Source } from "./source.ts";

/** What a stream can be asked for when it starts: docs/stream.md. */
export interface StartOptions {
  prompt?: string;
  provider?: "auto" | "mini" | "dip";
  seed?: number;
  guidance?: number;
  steps?: number;
  fps?: number;
  target?: "vrm1" | "vrm0";
  avatar?: string;
  encoding?: "json" | "msgpack";
  lead_sec?: number;
  root?: "free" | "bounded" | "in_place";
  foot_lock?: boolean;
  expressions?: boolean;
  fold?: boolean;
}

export interface LiveOptions extends StartOptions {
  /** One of the service's API keys, where it wants one. */
  key?: string;
  /** Every message of the server, after the stream has taken it in. */
  onMessage?: (message: ServerMessage) => void;
  onState?: (state: LiveState) => void;
}

/** `lost`: it will be taken up again. `ended`: it will not. */
export type LiveState = "connecting" | "running" | "lost" | "ended";

export interface LiveStatus {
  state: LiveState;
  /** The frame on the screen. */
  frame: number;
  /** Seconds of motion that are there and not yet shown. */
  ahead: number;
  /** Seconds for which the last frame had to stay because the next was not there. */
  held: number;
  /** Frames that were left out. */
  skipped: number;
  /** Seconds from the last text to its first frame on the screen; null: not there yet. */
  reaction: number | null;
}

const ACK = 1; // seconds
const RETRY = [0.25, 8]; // seconds: shortest and longest wait
const POLICY = 1008; // closed because of what was said
const FINAL: readonly number[] = [1000, POLICY, 1009];

export class LiveStream implements Source {
  readonly url: string;
  private readonly start: StartOptions;
  private readonly hooks: Pick<LiveOptions, "onMessage" | "onState">;
  private readonly protocols: string[];
  private state: LiveState = "connecting";
  private socket: WebSocket | null = null; // the one that frames come from
  private opening: WebSocket | null = null; // the one that will take its place
  private started: Started | null = null;
  private token: string | null = null;
  private reel: Reel | null = null;
  private reopens = false;
  private paused = false;
  private failures = 0;
  private sinceAck = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private asked: { at: number; from: number | null } | null = null;
  private reaction: number | null = null;

  /** Connects at once. `url` of the service, or of its `/v1/motion/stream`; http and ws are the same here. */
  constructor(url: string | URL, { key, onMessage, onState, ...start }: LiveOptions = {}) {
    this.url = streamUrl(url);
    this.protocols = key ? ["motion.v1", `key.${base64Url(key)}`] : ["motion.v1"];
    this.start = { encoding: "msgpack", ...start };
    this.hooks = { ...(onMessage && { onMessage }), ...(onState && { onState }) };
    globalThis.document?.addEventListener("visibilitychange", this.onVisibility);
    this.connect();
  }

  get status(): LiveStatus {
    const { head = 0, ahead = 0, held = 0, skipped = 0 } = this.reel ?? {};
    return { state: this.state, frame: Math.floor(head), ahead, held, skipped, reaction: this.reaction };
  }

  /** What the service said about the stream; null before it did. */
  get facts(): Started | null {
    return this.started;
  }

  // --- what can be asked -----------------------------------------------------------------------------------------------

  /** Another text, from now, after what is made already, or at seconds of the stream. Empty: back to idle. */
  prompt(text: string, at: "now" | "next" | number = "now"): void {
    this.start.prompt = text; // also what a connection that is taken up again starts with
    this.asked = { at: performance.now(), from: null };
    this.reaction = null;
    this.say({ type: "prompt", text, at, ...this.onScreen() });
  }

  /** Any other message of docs/stream.md ("speak", "state", ...). False: there is no connection to say it on. */
  tell<M extends { readonly type: string }>(message: M): boolean {
    return this.say({ ...message, ...this.onScreen() });
  }

  /** The screen stands still. */
  pause(): void {
    if (!this.paused) this.say({ type: "pause" });
    this.paused = true;
  }

  resume(): void {
    if (this.paused) this.say({ type: "resume" });
    this.paused = false;
  }

  /** The end, at once or in a neutral stance after two seconds. */
  stop(to?: "idle"): void {
    if (to === undefined || !this.say({ type: "stop", to, ...this.onScreen() })) this.close();
  }

  /** The end, without a word. What has come is still shown. */
  close(): void {
    clearTimeout(this.retry);
    globalThis.document?.removeEventListener("visibilitychange", this.onVisibility);
    for (const socket of [this.socket, this.opening]) socket?.close(1000);
    this.socket = this.opening = null;
    this.enter("ended");
  }

  // --- what is shown ---------------------------------------------------------------------------------------------------

  /** Whether the first frame is there. */
  get ready(): boolean {
    return this.reel?.ready ?? false;
  }

  /** Nothing comes any more, and all that came was shown. */
  get over(): boolean {
    return this.state === "ended" && (this.reel?.ahead ?? 0) <= 0;
  }

  advance(seconds: number): void {
    if (this.reel === null || this.paused) return;
    this.reel.advance(seconds);
    this.sinceAck += seconds;
    if (this.sinceAck >= ACK && this.reel.ready) {
      this.sinceAck = 0;
      this.say({ type: "ack", ...this.onScreen() });
    }
    if (this.asked?.from != null && this.reel.head >= this.asked.from) {
      this.reaction = (performance.now() - this.asked.at) / 1000;
      this.asked = null;
    }
  }

  sample(pose: Pose, ahead = 0): boolean {
    return this.reel?.sample(pose, ahead) ?? false;
  }

  takeJoin(): boolean {
    return this.reel?.takeJoin() ?? false;
  }

  // --- the connection --------------------------------------------------------------------------------------------------

  private connect(): void {
    const socket = new WebSocket(this.url, this.protocols);
    socket.binaryType = "arraybuffer";
    this.opening = socket;
    socket.onopen = () => {
      const resumed = { encoding: this.start.encoding, resume_token: this.token };
      const { prompt } = this.start;
      const start = this.token ? { ...resumed, ...(prompt !== undefined && { prompt }) } : this.start;
      socket.send(JSON.stringify({ v: 1, type: "start", ...start }));
    };
    socket.onmessage = ({ data }) => {
      if (socket === this.socket || socket === this.opening) this.take(socket, readMessage(data));
    };
    socket.onclose = ({ code }) => this.onClose(socket, code);
  }

  private take(socket: WebSocket, message: ServerMessage): void {
    if (message.type === "started") this.onStarted(socket, message);
    else if (message.type === "chunk" && this.started) {
      this.takeUp();
      const { target, rest_hips_height } = this.started;
      this.reel?.put(readChunk(message, target, rest_hips_height), message.first_frame, message.revision);
      this.token = message.resume_token ?? this.token;
    } else if (message.type === "prompt_applied") this.onApplied(message);
    else if (message.type === "draining") {
      this.token = message.resume_token;
      if (this.opening === null) this.connect(); // the old connection serves until the new one does
    } else if (message.type === "stopped") this.close();
    this.hooks.onMessage?.(message); // frames left out in a gap are passed over by the reel
  }

  private onStarted(socket: WebSocket, started: Started): void {
    if (socket !== this.socket) this.socket?.close(1000);
    [this.socket, this.opening] = [socket, null];
    this.started = started;
    this.failures = 0;
    this.reopens = this.reel !== null;
    this.reel ??= new Reel(started.fps, started.lead_sec, started.first_frame, started.revision);
    if (this.paused || globalThis.document?.hidden) this.say({ type: "pause" });
    this.enter("running");
  }

  /** What an earlier connection brought is shown until the new one brings something. */
  private takeUp(): void {
    if (this.reopens && this.started) this.reel?.reopen(this.started.first_frame, this.started.revision);
    this.reopens = false;
  }

  private onApplied({ from_frame, revision, reason }: PromptApplied): void {
    this.takeUp();
    this.reel?.replaceFrom(from_frame, revision);
    if (reason === "prompt" && this.asked) this.asked.from = from_frame;
  }

  private onClose(socket: WebSocket, code: number): void {
    const wasOpening = socket === this.opening;
    if (!wasOpening && socket !== this.socket) return;
    if (wasOpening) this.opening = null;
    else this.socket = null;
    if (this.state === "ended" || this.socket || this.opening) return; // over, or another connection is there
    if (wasOpening && code === POLICY && this.token) this.token = null; // it is read nowhere any more: begin anew
    else if (FINAL.includes(code)) return this.close();
    this.enter("lost");
    const [shortest, longest] = RETRY as [number, number];
    const wait = Math.min(shortest * 2 ** this.failures++, longest) * (0.5 + Math.random() / 2);
    this.retry = setTimeout(() => this.connect(), 1000 * wait);
  }

  /** False: there is no connection to say it on. */
  private say(message: object): boolean {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify({ v: 1, ...message }));
    return true;
  }

  private onScreen(): { frame?: number } {
    return this.reel ? { frame: Math.floor(this.reel.head) } : {};
  }

  private enter(state: LiveState): void {
    if (state === this.state) return;
    this.state = state;
    this.hooks.onState?.(state);
  }

  /** A page that nobody sees draws nothing: the service need not make what nobody will see. */
  private readonly onVisibility = (): void => {
    if (!this.paused) this.say({ type: document.hidden ? "pause" : "resume" });
  };
}

function streamUrl(url: string | URL): string {
  const full = new URL(url, globalThis.location?.href);
  full.protocol = full.protocol.replace("http", "ws");
  if (!full.pathname.endsWith("/stream")) full.pathname = full.pathname.replace(/\/*$/, "/v1/motion/stream");
  return full.href;
}

const base64Url = (text: string): string =>
  btoa(String.fromCharCode(...new TextEncoder().encode(text)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");
