"""The embeddable player in Chromium: bones stand where our kinematics put them, joins do not show, streams go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pytest

from motion_service.clips import VrmClip
from motion_service.export.vrm_json import encode_response
from motion_service.vrm.body import CANONICAL_BODY, MANNEQUIN_BODY, Body, clip_to_body, pose_body
from motion_service.vrm.convention import to_vrm0
from motion_service.vrm.stage import neutral_pose
from tests.browser.conftest import Viewer
from tests.browser.crooked_avatar import make_crooked
from tests.browser.installed import demand
from tests.browser.service_process import ServiceProcess
from tests.export.moving import make_moving
from tests.fakes import MINI
from tests.vrm.avatar_files import MANNEQUINS, make_avatar, without

pytestmark = pytest.mark.browser

Json = dict[str, Any]
TOLERANCE = 1e-3
"""m; the promise. What is measured is about a hundred times less."""
POP = 5.0
"""Degrees that a bone may turn in a frame because of a join."""
SMALL = Body({bone: (0.6 * x, 0.6 * y, 0.6 * z) for bone, (x, y, z) in without("upperChest", "leftToes").items()})


@dataclass(frozen=True)
class Avatar:
    content: bytes
    body: Body
    turn: float = 1.0
    """-1: VRM 0.x, which faces -Z."""


class Stage:
    """The page with the player; ``stage.call("name", ...)`` calls a function of player.mjs."""

    def __init__(self, viewer: Viewer) -> None:
        self.site = viewer.site
        browser = viewer.page.context.browser
        assert browser is not None
        self.page = browser.new_page()
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(f"{viewer.site.url}/page/player.html")
        self.page.wait_for_function("window.stage !== undefined", timeout=20_000)

    def call(self, name: str, *arguments: Any) -> Any:
        return self.page.evaluate("([name, args]) => window.stage[name](...args)", [name, list(arguments)])

    def load(self, content: bytes) -> None:
        self.call("loadAvatar", self.site.put("player.vrm", content))

    def slow_down(self, factor: float) -> None:
        """Give the page that much less of the processor."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Emulation.setCPUThrottlingRate", {"rate": factor})

    def wait_for(self, condition: str, seconds: float = 60) -> Json:
        """Play on until ``condition`` holds of the stream's status ``s``; the status then."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(f"(s => {condition})(window.stage.status())"):
            assert time.monotonic() < deadline, (condition, self.call("status"))
            self.call("perform", 0.1, [])
        status: Json = self.call("status")
        return status


@pytest.fixture(scope="module")
def stage(viewer: Viewer) -> Iterator[Stage]:
    made = Stage(viewer)
    yield made
    made.page.close()
    assert made.complaints == []


@pytest.fixture(scope="module")
def avatars() -> dict[str, Avatar]:
    mannequin = MANNEQUINS["1.0"].read_bytes()
    return {
        "vrm1": Avatar(mannequin, MANNEQUIN_BODY),
        "vrm0": Avatar(MANNEQUINS["0.x"].read_bytes(), MANNEQUIN_BODY, -1.0),
        "crooked": Avatar(make_crooked(mannequin), CANONICAL_BODY),
        "small": Avatar(make_avatar(places=SMALL.rest, version="0.x"), SMALL, -1.0),
    }


def answer_of(clip: VrmClip, target: str = "vrm1") -> Json:
    """The answer as a page has it."""
    head = {"fps": clip.fps, "metadata": {"target": target, "rest_hips_height": clip.rest_hips_height}}
    answer: Json = orjson.loads(encode_response(to_vrm0(clip) if target == "vrm0" else clip, head))
    return answer


def still(seed: int) -> Json:
    """An answer that stays in one pose, far from standing, for half a minute: two keys a track."""
    answer = answer_of(make_moving(seed=seed, widest=1.6, num_frames=1))
    for keys in [*answer["tracks"].values(), answer["root_position"]]:
        keys.append({**keys[0], "t": 30.0})
    return answer


@pytest.mark.parametrize("target", ["vrm1", "vrm0"])
@pytest.mark.parametrize("name", ["vrm1", "vrm0", "crooked", "small"])
def test_bones_stand_where_our_kinematics_put_them(
    stage: Stage, avatars: dict[str, Avatar], name: str, target: str
) -> None:
    """Whichever axes the answer has and whichever bones and size the avatar."""
    avatar, clip = avatars[name], make_moving()
    stage.load(avatar.content)
    frames = [0, 1, 20, 41, 59]
    seen = stage.call("samplePlaces", answer_of(clip, target), [frame / clip.fps for frame in frames])
    expected = pose_body(avatar.body, clip_to_body(clip, avatar.body))[0][frames].numpy()
    places = np.stack([np.array(seen[bone]) for bone in avatar.body.bones], axis=1)
    assert np.linalg.norm(places - expected * [avatar.turn, 1, avatar.turn], axis=-1).max() < TOLERANCE


@pytest.mark.parametrize(("interpolate", "allowed"), [(True, 0.005), (False, 0.15)])
def test_20_and_30_frames_a_second_play_at_the_same_speed(
    stage: Stage, avatars: dict[str, Avatar], interpolate: bool, allowed: float
) -> None:
    """Without moments between, each is behind by up to its frame."""
    stage.load(avatars["vrm1"].content)
    seen = []
    for fps in (20.0, 30.0):
        played = stage.call(
            "samplePlaying", answer_of(make_moving(num_frames=round(3 * fps), fps=fps)), 60, 2.9, interpolate
        )
        seen.append(np.stack([np.array(played[bone]) for bone in MANNEQUIN_BODY.bones], axis=1))
    apart = np.linalg.norm(seen[0] - seen[1], axis=-1)
    assert apart.max() < allowed
    late = np.linalg.norm(seen[0][6:] - seen[1][:-6], axis=-1)
    assert late.max() > 2 * allowed or not interpolate, "a tenth of a second off would be seen"


def test_joins_do_not_show(stage: Stage, avatars: dict[str, Avatar], mini: Callable[[str], Json]) -> None:
    """Idle to a motion, to another one in the middle, interrupted: drawn in real time by a fourth of the processor."""
    stage.load(avatars["vrm1"].content)
    stand = answer_of(neutral_pose())
    moves = [mini(prompt) for prompt in ("waves the right hand", "a person kicks", "両手を上げる")]
    stage.slow_down(4)
    try:
        for motions, measure in (([still(1), still(2), still(3)], "turn"), (moves, "more")):
            script = [[0.2, motions[0]], [0.9, motions[1]], [1.5, motions[2]], [2.1, None, stand]]
            steps = stage.call("perform", 2.8, script)
            assert max(step[measure] for step in steps) < POP
            assert sum(step["turn"] for step in steps) > 100, "it moved"
    finally:
        stage.slow_down(1)


def test_a_late_turn_is_dropped(stage: Stage, avatars: dict[str, Avatar]) -> None:
    stage.load(avatars["vrm0"].content)
    stage.call("beginTurn", "one")
    stage.call("beginTurn", "two")
    assert stage.call("play", still(1), {"turn": "one"}) == "late"
    assert not stage.call("isPlaying")
    assert max(step["turn"] for step in stage.call("perform", 0.3, [])) < 1, "idle"
    assert stage.call("play", {**still(2), "job_id": "j"}, {"turn": "two"}) == "playing"
    stage.call("interrupt")
    assert stage.call("play", {**still(3), "job_id": "k"}, {"turn": "two"}) == "late"
    assert not stage.call("isPlaying")


@pytest.fixture(scope="module")
def service(viewer: Viewer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    demand((MINI / "model.safetensors").is_file(), "needs the shipped weights (models/motion/mini)")
    settings = {"MOTION_ALLOWED_ORIGINS": viewer.site.url, "MOTION_DEFAULT_ARTIFACTS": "none"}
    with ServiceProcess(tmp_path_factory.mktemp("player"), MOTION_WARM_UP="off", **settings) as service:
        yield service


@pytest.fixture(scope="module")
def mini(service: ServiceProcess) -> Callable[[str], Json]:
    """What the shipped model makes of a prompt."""
    made: dict[str, Json] = {}

    def generate(prompt: str) -> Json:
        if prompt not in made:
            made[prompt] = service.generate(prompt, seed=1, duration_sec=2.0)
        return made[prompt]

    return generate


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
def test_a_stream_follows_texts_and_survives_a_restart(
    stage: Stage, avatars: dict[str, Avatar], service: ServiceProcess, encoding: str
) -> None:
    stage.load(avatars["vrm0"].content)
    stage.call(
        "follow", str(service.http.base_url), {"encoding": encoding, "prompt": "a person walks", "lead_sec": 0.5}
    )
    stage.wait_for("s.state === 'running' && s.frame > 20")
    assert np.linalg.norm(np.array(stage.call("readHips"))[[0, 2]]) > 0.2, "it walks"
    stage.call("say", "waves the right hand")
    told = stage.wait_for("s.reaction !== null")
    assert told["reaction"] < 20 and any(message["type"] == "prompt_applied" for message in told["messages"])
    if encoding == "msgpack":
        service.restart()
        stage.wait_for("s.messages.filter(m => m.type === 'started').length === 2")
        before = stage.call("status")["frame"]
        after = stage.wait_for(f"s.state === 'running' && s.frame > {before + 20}")
        assert after["skipped"] == 0
    stage.call("leave")
    stage.call("perform", 0.5, [])
    assert stage.call("status")["state"] == "ended"
