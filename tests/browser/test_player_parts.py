"""The player without a browser: its own tests, its types as another project sees them, chunks as the service packs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from motion_service.export.chunk import frames_to_json, frames_to_msgpack
from motion_service.live_frames import clip_to_frames
from tests.browser.installed import WEB, demand_web_modules
from tests.export.moving import make_moving

READ_CHUNK = """
import { readChunk } from "MODULES/player/chunk.js";
import { readMessage } from "MODULES/player/messages.js";
import { readFileSync } from "node:fs";
const seen = process.argv.slice(1).map((path) => {
  const bytes = readFileSync(path);
  const json = path.endsWith("json");
  const data = json ? bytes.toString() : bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  const message = readMessage(data);
  const { count, bones, rotations, hips } = readChunk(message, "vrm1", 2);
  const { tracks, rot, root, contacts, ...head } = message;
  return { head, count, bones, rotations: [...rotations], hips: [...hips] };
});
console.log(JSON.stringify(seen));
"""
USE = """
import { VRM } from "@pixiv/three-vrm";
import { LiveStream, MotionPlayer, type Answer, type Outcome, type ServerMessage } from "motion-player";
import type { MotionResponse } from "./wire";

export function play(vrm: VRM, answer: MotionResponse, other: Answer): Outcome {
  const player = new MotionPlayer(vrm, { idle: "mixer" });
  const heard = (message: ServerMessage): void => console.info(message.type === "chunk" ? message.n : message.type);
  player.follow(new LiveStream("/", { prompt: "a person walks", onMessage: heard }));
  player.setIdle(other);
  player.update(1 / 60);
  return player.play(answer, { turn: "1", loop: false });
}
"""


@pytest.fixture(scope="module")
def modules() -> Path:
    """The player's modules, each compiled, after their own tests have passed."""
    demand_web_modules()
    done = subprocess.run(["npm", "test"], cwd=WEB, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "# fail 0" in done.stdout and "# tests 0" not in done.stdout
    return WEB / "node_modules/.tests"


def test_chunks_are_read_as_the_service_writes_them(modules: Path, tmp_path: Path) -> None:
    frames = clip_to_frames(make_moving(num_frames=7))
    head: dict[str, Any] = {
        "v": 1, "type": "chunk", "index": 300, "revision": 70_000, "first_frame": 2**33, "n": 7, "fps": 29.97,
        "generator": "ミニ", "resume_token": "t" * 6000, "t0": -1.5, "negative": [-1, -100, -40_000, -(2**40)],
        "no": None,
    }  # fmt: skip
    (tmp_path / "chunk.msgpack").write_bytes(frames_to_msgpack(frames, head))
    (tmp_path / "chunk.json").write_bytes(frames_to_json(frames, head, 0, 20.0))
    script = READ_CHUNK.replace("MODULES", str(modules))
    command = ["node", "--input-type=module", "-e", script, *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for seen in json.loads(done.stdout):
        assert seen["head"] == head | ({"bones": list(frames.bones)} if "bones" in seen["head"] else {})
        assert seen["count"] == 7 and seen["bones"] == list(frames.bones)
        assert np.abs(np.array(seen["rotations"]) - frames.rotations.numpy().ravel()).max() < 2e-5
        assert np.abs(np.array(seen["hips"]) * 2 - frames.hips.numpy().ravel()).max() < 2e-5


def test_any_values_survive_messagepack(modules: Path) -> None:
    draw = np.random.default_rng(1)

    def value(depth: int) -> Any:
        kind = int(draw.integers(0, 8 if depth else 6))
        if kind < 2:
            return int(draw.integers(-(2**50), 2**50)) >> int(draw.integers(0, 51))
        if kind == 2:
            return float(draw.normal())
        if kind == 3:
            return "あé𝄞x"[: int(draw.integers(0, 5))] * int(draw.integers(1, 80))
        if kind < 6:
            return [None, True, False][int(draw.integers(0, 3))]
        items = [value(depth - 1) for _ in range(int(draw.integers(0, 20)))]
        return items if kind == 6 else {f"k{i}": item for i, item in enumerate(items)}

    values = [value(3) for _ in range(300)]
    script = f"""
        import {{ decodeMsgpack }} from "{modules}/player/msgpack.js";
        const chunks = [];
        for await (const chunk of process.stdin) chunks.push(chunk);
        console.log(JSON.stringify(decodeMsgpack(Buffer.concat(chunks))));"""
    command = ["node", "--input-type=module", "-e", script]
    done = subprocess.run(command, input=msgpack.packb(values), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == values


def stage_of_the_assistant() -> str:
    """The new file that docs/integration.md tells to make."""
    text = (WEB.parents[1] / "docs/integration.md").read_text(encoding="utf-8")
    found = re.search(r"motionStage\.ts`:\n\n```ts\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


def test_another_project_can_use_its_types(tmp_path: Path) -> None:
    demand_web_modules()
    (tmp_path / "right.ts").write_text(USE)
    (tmp_path / "stage.ts").write_text(stage_of_the_assistant().replace("../motion-player/index.js", "motion-player"))
    (tmp_path / "wrong.ts").write_text(USE.replace('turn: "1"', "turn: 1"))
    (tmp_path / "wire.ts").write_text((WEB / "src/wire.ts").read_text(encoding="utf-8"), encoding="utf-8")
    installed = tmp_path / "node_modules"
    installed.mkdir()
    for name in ("three", "@types", "@pixiv"):
        (installed / name).symlink_to(WEB / "node_modules" / name)
    (installed / "motion-player").symlink_to(WEB / "static/player")
    tsc = WEB / "node_modules/typescript/bin/tsc"
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
    options += ["--preserveSymlinks", "--types", "", "--skipLibCheck", "false", "--lib", "es2022,dom,dom.iterable"]
    command = ["node", str(tsc), *options, "right.ts", "stage.ts", "wrong.ts"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if "error" in line and "node_modules/@" not in line]
    assert len(errors) == 1 and errors[0].startswith("wrong.ts"), done.stdout
