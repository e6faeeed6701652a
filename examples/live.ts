// Steer an avatar live from a page, or from Node 22 or newer: node examples/live.ts [ws://host:port] [speed]
// Walks, waves after two seconds, returns to idle after five; what a player would show is logged.
type Quat = Float32Array; // x y z w of every bone, one after the other
type Message = { type: string; [field: string]: any };

const [, , service = "ws://127.0.0.1:7100", speed = "1"] = (globalThis as any).process?.argv ?? [];
const poses = new Map<number, Quat>(); // what is to be shown, by frame
const socket = new WebSocket(`${service}/v1/motion/stream`);
let bones: string[] = [];
let fps = 20;
let clock = 0; // when frame 0 was shown, ms

const say = (message: Message): void => socket.send(JSON.stringify({ v: 1, ...message }));
const onScreen = (): number => (clock ? Math.floor(((performance.now() - clock) * fps) / 1000) : 0);
const later = (seconds: number, message: Message): void => {
  setTimeout(() => socket.readyState === WebSocket.OPEN && say({ ...message, frame: onScreen() }), (seconds * 1000) / Number(speed));
};

function onChunk(chunk: Message): void {
  if (!clock) {
    clock = performance.now(); // playing begins with the first chunk
    later(2, { type: "prompt", text: "元気に手を振る" });
    later(5, { type: "stop", to: "idle" });
  }
  for (let i = 0; i < chunk.n; i++) {
    const pose = bones.flatMap((bone) => ["x", "y", "z", "w"].map((axis) => chunk.tracks[bone][i][axis] as number));
    poses.set(chunk.first_frame + i, Float32Array.from(pose)); // three-vrm: getNormalizedBoneNode(bone).quaternion
  }
  console.log(`frame ${onScreen()}: ${chunk.first_frame + chunk.n - onScreen()} ahead, revision ${chunk.revision}`);
  say({ type: "ack", frame: onScreen() });
}

socket.onopen = () => say({ type: "start", prompt: "a person walks forward", root: "bounded" });
socket.onmessage = ({ data }) => {
  const message: Message = JSON.parse(data);
  if (message.type === "started") ({ bones, fps } = message as unknown as { bones: string[]; fps: number });
  else if (message.type === "chunk") onChunk(message);
  else if (message.type === "prompt_applied") {
    for (const frame of poses.keys()) if (frame >= message.from_frame) poses.delete(frame);
    console.log(`frame ${onScreen()}: ${message.captions} from frame ${message.from_frame}`);
  } else if (message.type === "gap") console.log(`frames up to ${message.to_frame - 1} were left out`);
  else if (message.type === "error") console.error(message.problem.detail);
  else if (message.type === "stopped") console.log(`${message.frames} frames, the last ${poses.size} of them still here`);
};
