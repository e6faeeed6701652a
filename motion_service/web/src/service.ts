// The service as the page asks it: paths, the key, and errors as problem details.
import type {
  AvatarOut,
  BenchmarkOut,
  DiagnosticsOut,
  GenerateRequest,
  JobList,
  JobOut,
  MotionResponse,
  Problem,
} from "./wire.ts";

const KEY = "motion-service-key";

/** The service refused or failed; `problem` is its own account of it where there is one. */
export class ServiceError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem | null,
  ) {
    super(problem?.detail ?? `HTTP ${status}`);
  }
}

export class Service {
  /** Everything below this address; the page may be served under another path than `/`. */
  readonly base = new URL(".", document.baseURI);
  /** Asked for a key when the service wants one; null: the user has none. */
  askForKey: () => Promise<string | null> = async () => null;
  private asking: Promise<string | null> | null = null;

  get key(): string | null {
    return sessionStorage.getItem(KEY);
  }

  generate(request: GenerateRequest, requestId: string, signal: AbortSignal): Promise<MotionResponse> {
    const headers = { "content-type": "application/json", "x-request-id": requestId };
    return this.json("v1/motion/generate", { method: "POST", body: JSON.stringify(request), headers, signal });
  }

  jobs(limit: number): Promise<JobList> {
    return this.json(`v1/motion/jobs?limit=${limit}`);
  }

  job(id: string): Promise<JobOut> {
    return this.json(`v1/motion/jobs/${encodeURIComponent(id)}`);
  }

  /** The answer of a job, from the file it left; `url` as `metadata.url`. */
  answer(url: string): Promise<MotionResponse> {
    return this.json(url);
  }

  diagnostics(): Promise<DiagnosticsOut> {
    return this.json("v1/diagnostics");
  }

  benchmark(): Promise<BenchmarkOut> {
    return this.json("v1/diagnostics/benchmark");
  }

  startBenchmark(): Promise<BenchmarkOut> {
    return this.json("v1/diagnostics/benchmark", { method: "POST" });
  }

  uploadAvatar(file: ArrayBuffer): Promise<AvatarOut> {
    const headers = { "content-type": "application/octet-stream" };
    return this.json("v1/avatars", { method: "POST", body: file, headers });
  }

  async file(url: string): Promise<Blob> {
    return (await this.ask(url)).blob();
  }

  /** An address that an <img> can show: with a key, one of this page's own. */
  async picture(url: string): Promise<string> {
    return this.key === null ? this.address(url).href : URL.createObjectURL(await this.file(url));
  }

  /** A WebSocket; the key travels as a subprotocol. */
  socket(path: string): WebSocket {
    const url = this.address(path);
    url.protocol = url.protocol.replace("http", "ws");
    return new WebSocket(url, this.key === null ? ["motion.v1"] : ["motion.v1", `key.${base64Url(this.key)}`]);
  }

  address(url: string): URL {
    return new URL(url, this.base);
  }

  private async json<T>(url: string, init: RequestInit = {}): Promise<T> {
    return (await this.ask(url, init)).json() as Promise<T>;
  }

  private async ask(url: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.key !== null) headers.set("x-api-key", this.key);
    const response = await fetch(this.address(url), { ...init, headers });
    if (response.ok) return response;
    if (response.status === 401 && (await this.obtainKey())) return this.ask(url, init);
    throw new ServiceError(response.status, await readProblem(response));
  }

  /** Ask once, however many requests wait for it. */
  private async obtainKey(): Promise<boolean> {
    this.asking ??= this.askForKey().finally(() => (this.asking = null));
    const key = await this.asking;
    if (key !== null) sessionStorage.setItem(KEY, key);
    return key !== null;
  }
}

async function readProblem(response: Response): Promise<Problem | null> {
  const isProblem = response.headers.get("content-type")?.includes("json");
  return isProblem ? ((await response.json()) as Problem) : null;
}

const base64Url = (text: string): string =>
  btoa(String.fromCharCode(...new TextEncoder().encode(text)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");
