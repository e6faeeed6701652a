"""The assistant's own payload, server defaults, camera and player: what its user sees of a service set up for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from motion_service.vrm.body import Vector
from motion_service.vrm.stage import neutral_pose
from tests.browser.answers import HALF_TURN, Array, Json, play
from tests.browser.conftest import Viewer
from tests.browser.crooked_avatar import make_crooked
from tests.browser.installed import demand
from tests.browser.service_process import ServiceProcess
from tests.fakes import MINI
from tests.vrm.avatar_files import MANNEQUIN, MANNEQUINS, make_avatar, without

pytestmark = pytest.mark.browser

DIAGNOSTICS: Json = {"format": "vrm-json"}
"""What the backend adds to the prompt of its Diagnostics page."""
CONVERSATION: Json = {"format": "vrm-json", "duration_sec": 4.0, "fps": 24}
"""What it adds to an assistant's reply."""
PROMPTS = [
    ("3秒で手を振る", DIAGNOSTICS),
    ("a person walks forward", DIAGNOSTICS),
    ("前へ歩いてください", CONVERSATION),
    ("a person turns left while walking", CONVERSATION),
    ("右にぐるっと回り込むように歩く", DIAGNOSTICS),
    ("a person dances", DIAGNOSTICS),
    ("今日はいい天気ですね。散歩に行きましょう！", CONVERSATION),
    ("さようなら、また明日ね", CONVERSATION),
]
RUN = ("全力疾走で前へ", DIAGNOSTICS)
WINDOW = {"aspect": 16 / 9}
"""The assistant's picture fills its window."""
BEHIND, FRONT = {**WINDOW, "side": -1}, {**WINDOW, "side": 1}
"""Its camera stands at -Z of the scene: in front of a VRM 0.x avatar, behind one of VRM 1.0 until the user turns it."""


@dataclass(frozen=True)
class Assistant:
    """A service with the settings that docs/vrm.md gives for the assistant, and the assistant's player in a browser."""

    version: str
    service: ServiceProcess
    viewer: Viewer
    page: Any

    def call(self, name: str, *arguments: Any) -> Any:
        return self.page.evaluate("([name, args]) => window.assistant[name](...args)", [name, list(arguments)])

    def load(self, avatar: bytes) -> None:
        told = self.call("loadAvatar", self.viewer.site.put("assistant.vrm", avatar))
        assert told == self.version[0]

    @property
    def cameras(self) -> list[Json]:
        """Where the assistant's camera may stand for this avatar."""
        return [BEHIND] if self.version == "0.x" else [BEHIND, FRONT]


@pytest.fixture(scope="module", params=MANNEQUINS)
def started(
    request: pytest.FixtureRequest, viewer: Viewer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Assistant]:
    demand((MINI / "model.safetensors").is_file(), "needs the shipped weights (models/motion/mini)")
    version: str = request.param
    settings = {
        "MOTION_DEFAULT_AVATAR": str(MANNEQUINS[version]),
        "MOTION_DEFAULT_ROOT": "bounded",
        "MOTION_DEFAULT_SETTLE": "on",
        "MOTION_DEFAULT_COMPAT": "boost-safe",
        "MOTION_DEFAULT_ARTIFACTS": "none",
        "MOTION_SPEECH_FIT": "on",
    }
    browser = viewer.page.context.browser
    assert browser is not None
    page = browser.new_page()
    page.goto(f"{viewer.site.url}/page/downstream.html")
    page.wait_for_function("window.assistant !== undefined", timeout=20_000)
    with ServiceProcess(tmp_path_factory.mktemp("assistant"), MOTION_WARM_UP="off", **settings) as service:
        yield Assistant(version, service, viewer, page)
    page.close()


@pytest.fixture
def assistant(started: Assistant) -> Assistant:
    """With the mannequin in it, idle."""
    started.load(MANNEQUINS[started.version].read_bytes())
    started.call("startIdle", neutral_answer(started.version))
    return started


def neutral(version: str) -> tuple[dict[str, Rotation], Array]:
    """The neutral pose on the mannequin, in the avatar's convention."""
    pose = neutral_pose()
    about = HALF_TURN if version == "0.x" else np.ones(3)
    turns = {bone: Rotation.from_quat(quat[0].numpy() * [*about, 1.0]) for bone, quat in pose.rotations.items()}
    return turns, pose.hips[0].numpy() * about


def neutral_answer(version: str) -> Json:
    """It as an answer of one frame, with w < 0 so that nothing of it is boosted."""
    turns, hips = neutral(version)
    tracks = {
        bone: [{"t": 0, **dict(zip("xyzw", (-turn.as_quat()).tolist(), strict=True))}] for bone, turn in turns.items()
    }
    return {
        "duration_sec": 1,
        "tracks": tracks,
        "rootPosition": [{"t": 0, **dict(zip("xyz", hips.tolist(), strict=True))}],
    }


def distance_from_neutral(version: str, pose: Json) -> tuple[float, float]:
    """Worst bone in degrees and place of the hips in m, of normalised bones as the browser has them."""
    turns, hips = neutral(version)
    seen = {bone: Rotation.from_quat(quat) for bone, quat in pose["turns"].items()}
    worst = max((turns.get(bone, Rotation.identity()).inv() * turn).magnitude() for bone, turn in seen.items())
    return float(np.degrees(worst)), float(np.linalg.norm(np.subtract(pose["hips"], hips)))


def test_the_head_stays_in_the_picture_and_the_clip_ends_in_neutral(assistant: Assistant) -> None:
    for prompt, added in [*PROMPTS, RUN]:
        motion = assistant.service.generate(prompt, seed=1, **added)
        assert motion["fps"] == added.get("fps", 20) and motion["metadata"]["generator"] == "mini"
        seen = assistant.call("perform", motion, assistant.cameras)
        for view in seen["views"] if prompt != RUN[0] else []:
            assert view["margin"] > 0.1, (prompt, view)
        degrees, metres = distance_from_neutral(assistant.version, seen["last"])
        assert degrees < 0.05 and metres < 1e-4, prompt


def test_a_reply_is_talked_in_the_picture(assistant: Assistant) -> None:
    reply = "はい、わかりました。すぐに確認しますので、少々お待ちください。"
    motion = assistant.service.generate(reply, seed=1, **CONVERSATION)
    speech = motion["metadata"]["speech"]
    assert abs(motion["duration_sec"] - speech["seconds"]) <= 0.3 and motion["duration_sec"] != 4.0
    seen = assistant.call("perform", motion, assistant.cameras, ["leftHand", "rightHand"])
    assert all(view["margin"] > 0.1 for view in seen["views"])
    heights = np.max([np.array(seen["places"][bone])[:, 1] for bone in ("leftHand", "rightHand")], axis=0)
    assert np.mean(heights > 1.3) > 0.3, "a hand is up beside the shoulders"


def test_the_head_of_a_runner_stays_in_the_picture(assistant: Assistant) -> None:
    prompt, added = RUN
    for seed in range(1, 7):
        motion = assistant.service.generate(prompt, seed=seed, **(added | {"duration_sec": 2.0}))
        for view in assistant.call("perform", motion, assistant.cameras)["views"]:
            assert view["margin"] > 0, (seed, view)


def test_without_the_settings_it_would_not(assistant: Assistant) -> None:
    """So that the tests above can fail: a free walk leaves the picture, and small tracks are boosted without compat."""
    motion = assistant.service.generate("a person walks forward", seed=1, root="free", settle=False, **DIAGNOSTICS)
    seen = assistant.call("perform", motion, assistant.cameras)
    assert any(view["margin"] < 0 for view in seen["views"])
    assert distance_from_neutral(assistant.version, seen["last"])[1] > 1
    ends = {}
    for compat in ("none", "boost-safe"):
        motion = assistant.service.generate(
            "a person stands idle", seed=1, duration_sec=1.0, compat=compat, **DIAGNOSTICS
        )
        ends[compat] = distance_from_neutral(assistant.version, assistant.call("perform", motion, [])["last"])[0]
    assert ends["none"] > 3 and ends["boost-safe"] < 0.05


@pytest.mark.parametrize(
    ("side", "other", "prompt"), [("left", "right", "a person raises the left hand"), ("right", "left", "右手を挙げる")]
)
def test_the_avatars_own_hand_goes_up(assistant: Assistant, side: str, other: str, prompt: str) -> None:
    motion = assistant.service.generate(prompt, seed=1, duration_sec=2.0)
    places = assistant.call("perform", motion, [], [f"{side}Hand", f"{other}Hand", "head"])["places"]
    raised, hanging, head = (np.array(places[bone])[:, 1] for bone in (f"{side}Hand", f"{other}Hand", "head"))
    assert (raised - head).max() > 0.1 and (hanging - head).max() < -0.3


@pytest.mark.parametrize(("prompt", "sign"), [("a person walks forward", 1), ("後ろへ下がる", -1)])
def test_it_walks_where_it_faces(assistant: Assistant, prompt: str, sign: int) -> None:
    """Where it faces is told by its own toes in the T-pose: +Z of the scene in VRM 1.0, -Z in VRM 0.x."""
    rest = assistant.call("restPlaces", ["leftFoot", "leftToes", "leftHand"])
    ahead = np.subtract(rest["leftToes"], rest["leftFoot"]) * [1, 0, 1]
    assert np.sign(ahead[2]) == np.sign(rest["leftHand"][0]) == (-1 if assistant.version == "0.x" else 1)
    motion = assistant.service.generate(prompt, seed=1, duration_sec=3.0, root="free", settle=False)
    hips = np.array(assistant.call("perform", motion, [], ["hips"])["places"]["hips"])
    way = hips[-1] - hips[0]
    assert sign * (way @ ahead) > 0.8 * np.linalg.norm(way) * np.linalg.norm(ahead) and np.linalg.norm(way) > 0.5


SMALL: dict[str, Vector] = {bone: (0.6 * x, 0.6 * y, 0.6 * z) for bone, (x, y, z) in MANNEQUIN.items()}
ARMLESS = without("upperChest", "leftShoulder", "rightShoulder", "leftToes", "rightToes")
OTHERS: dict[str, dict[str, Callable[[], tuple[bytes, Mapping[str, Vector]]]]] = {
    "1.0": {
        "turned rest, no upperChest": lambda: (make_crooked(MANNEQUINS["1.0"].read_bytes()), without("upperChest")),
        "child": lambda: (make_avatar(places=SMALL), SMALL),
        "child under a scaled root": lambda: (make_avatar(places=SMALL, root={"scale": 0.6}), SMALL),
    },
    "0.x": {"no shoulders, no toes": lambda: (make_avatar(version="0.x", places=ARMLESS), ARMLESS)},
}


def test_bones_of_other_avatars_stand_where_they_should(assistant: Assistant) -> None:
    """An uploaded avatar's answer in three-vrm: raw bones against kinematics that share nothing with the package."""
    about = HALF_TURN if assistant.version == "0.x" else np.ones(3)
    for name, make in OTHERS[assistant.version].items():
        data, rest = make()
        uploaded = assistant.service.http.post("/v1/avatars", content=data).json()["id"]
        options = {"avatar": uploaded, "fps": 60, "root": "free", "settle": False}
        motion = assistant.service.generate("a person walks and waves", seed=1, duration_sec=1.5, **options)
        assert set(rest) - {"upperChest"} <= set(motion["tracks"]) <= set(rest), name
        assistant.load(data)
        places = assistant.call("perform", motion, [], list(rest))["places"]
        expected = play(motion).places(rest)
        shown = slice(15, len(expected["hips"]))  # of 60 a second, after the fade
        for bone, seen in places.items():
            error = np.linalg.norm((np.array(seen)[shown] - expected[bone][shown] * about), axis=-1)
            assert error.max() < 1e-3, (name, bone)
