"""What is seen is what was computed: three-vrm's bones in Chromium stand where our kinematics put them."""

from __future__ import annotations

import asyncio
import base64
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest
import torch
from PIL import Image

from motion_service.clips import VrmClip
from motion_service.engine.worker import Worker
from motion_service.export.bvh import clip_to_bvh
from motion_service.export.vrm_json import encode_response
from motion_service.export.vrma import clip_to_vrma
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.mdm_adapter.decode import decode
from motion_service.mdm_adapter.mini import DiffusionSource
from motion_service.prompt.plan import prompt_to_plan
from motion_service.source import SourceRequest
from motion_service.text_encoder import UseEncoder
from motion_service.vrm.body import CANONICAL_BODY, MANNEQUIN_BODY, Body, clip_to_body, pose_body
from motion_service.vrm.convention import boost_safe, to_vrm0
from tests.browser.conftest import Viewer
from tests.browser.crooked_avatar import make_crooked
from tests.browser.installed import demand
from tests.export.moving import make_moving
from tests.fakes import MINI

pytestmark = pytest.mark.browser

FILES = Path(__file__).resolve().parents[2] / "motion_service" / "web" / "avatars"
TOLERANCE = 1e-3
"""Metres; the issue's promise. What is measured is about a hundred times less."""


@dataclass(frozen=True)
class Avatar:
    """A file and what we know of it."""

    content: bytes
    body: Body
    version: str
    """metaVersion of three-vrm: "0" or "1"."""

    @property
    def turn(self) -> npt.NDArray[np.float64]:
        """From VRM 1.0 axes to those of the file: VRM 0.x avatars face -Z."""
        return np.array([-1.0, 1.0, -1.0]) if self.version == "0" else np.ones(3)


@pytest.fixture(scope="module")
def avatars() -> dict[str, Avatar]:
    mannequin = (FILES / "mannequin.vrm").read_bytes()
    return {
        "vrm1": Avatar(mannequin, MANNEQUIN_BODY, "1"),
        "vrm0": Avatar((FILES / "mannequin_vrm0.vrm").read_bytes(), MANNEQUIN_BODY, "0"),
        "crooked": Avatar(make_crooked(mannequin), CANONICAL_BODY, "1"),
    }


@pytest.fixture(scope="module")
def mini_clip() -> VrmClip:
    """Two seconds of what the shipped model really makes."""
    demand((MINI / "model.safetensors").is_file(), "needs the shipped weights (models/motion/mini)")

    async def generate() -> VrmClip:
        worker = Worker()
        source = DiffusionSource(load_checkpoint(MINI), UseEncoder(), worker)
        worker.start()
        try:
            return decode(await source.generate(SourceRequest(prompt_to_plan("a person walks and waves"), 2.0, 1)))[0]
        finally:
            await worker.stop()

    with ThreadPoolExecutor(1) as thread:  # the browser's driver may have an event loop in this one
        return thread.submit(lambda: asyncio.run(generate())).result()


@pytest.fixture(params=["moving", "mini"])
def clip(request: pytest.FixtureRequest) -> VrmClip:
    """A clip that moves all 22 bones, and one of the model."""
    if request.param == "mini":
        made: VrmClip = request.getfixturevalue("mini_clip")
        return made
    return make_moving()


def json_of(clip: VrmClip) -> dict[str, Any]:
    """The answer as a client has it."""
    answer: dict[str, Any] = orjson.loads(encode_response(clip, {"duration_sec": clip.seconds, "fps": clip.fps}))
    return answer


def frames_of(clip: VrmClip) -> list[int]:
    """First, last and three between."""
    return [round(i * (clip.num_frames - 1) / 4) for i in range(5)]


def worst_error(viewer: Viewer, avatar: Avatar, clip: VrmClip) -> float:
    """Largest distance in metres between three-vrm's raw bones and our kinematics, over bones and frames."""
    frames = frames_of(clip)
    seen = viewer.call("samplePlaces", [frame / clip.fps for frame in frames])
    fitted = clip_to_body(clip, avatar.body)
    expected = pose_body(avatar.body, fitted)[0][frames].numpy() * avatar.turn  # (5, J, 3)
    assert set(seen) == set(avatar.body.bones)
    places = np.stack([np.array(seen[bone]) for bone in avatar.body.bones], axis=1)
    return float(np.linalg.norm(places - expected, axis=-1).max())


def show(viewer: Viewer, avatar: Avatar) -> None:
    told = viewer.call("loadAvatar", viewer.site.put("avatar.vrm", avatar.content))
    assert told["version"] == avatar.version and set(told["bones"]) == set(avatar.body.bones)


@pytest.mark.parametrize("name", ["vrm1", "vrm0", "crooked"])
def test_json_on_normalised_bones(viewer: Viewer, avatars: dict[str, Avatar], name: str, clip: VrmClip) -> None:
    avatar = avatars[name]
    show(viewer, avatar)
    fitted = clip_to_body(clip, avatar.body)
    wire = to_vrm0(fitted) if avatar.version == "0" else fitted
    assert viewer.call("playJson", json_of(wire)) == len(fitted.rotations) + 1
    assert worst_error(viewer, avatar, clip) < TOLERANCE


@pytest.mark.parametrize("name", ["vrm1", "vrm0", "crooked"])
def test_vrma_by_its_specification(viewer: Viewer, avatars: dict[str, Avatar], name: str, clip: VrmClip) -> None:
    avatar = avatars[name]
    show(viewer, avatar)
    viewer.complaints.clear()
    url = viewer.site.put("motion.vrma", clip_to_vrma(clip, avatar.body))
    assert viewer.call("playVrma", url) == len(clip_to_body(clip, avatar.body).rotations) + 1
    assert worst_error(viewer, avatar, clip) < TOLERANCE
    assert viewer.complaints == []


@pytest.mark.parametrize("name", ["vrm1", "crooked"])
def test_vrma_by_node_names(viewer: Viewer, avatars: dict[str, Avatar], name: str, clip: VrmClip) -> None:
    """The assistant's viewer ignores the extension and the rest pose. On VRM 0.x it does not turn the tracks either."""
    avatar = avatars[name]
    show(viewer, avatar)
    url = viewer.site.put("motion.vrma", clip_to_vrma(clip, avatar.body))
    assert viewer.call("playNodeNames", url) == len(clip_to_body(clip, avatar.body).rotations) + 1
    assert worst_error(viewer, avatar, clip) < TOLERANCE


def test_a_vrma_for_one_body_fits_another_size(viewer: Viewer, avatars: dict[str, Avatar]) -> None:
    """Players scale the place of the hips by the heights at rest, as clip_to_body does."""
    clip, avatar = make_moving(CANONICAL_BODY), avatars["crooked"]
    big = Body({bone: (x * 1.3, y * 1.3, z * 1.3) for bone, (x, y, z) in CANONICAL_BODY.rest.items()})
    show(viewer, avatar)
    viewer.call("playVrma", viewer.site.put("motion.vrma", clip_to_vrma(clip_to_body(clip, big), big)))
    assert worst_error(viewer, avatar, clip) < TOLERANCE


@pytest.mark.parametrize("name", ["vrm1", "vrm0"])
def test_small_motion_is_boosted_unless_sent_boost_safe(viewer: Viewer, avatars: dict[str, Avatar], name: str) -> None:
    avatar, small = avatars[name], make_moving(widest=0.06)
    show(viewer, avatar)
    wire = to_vrm0(small) if avatar.version == "0" else small
    viewer.call("playJson", viewer.call("boostSmallTracks", json_of(wire)))
    assert worst_error(viewer, avatar, small) > 0.05
    viewer.call("playJson", viewer.call("boostSmallTracks", json_of(boost_safe(wire))))
    assert worst_error(viewer, avatar, small) < TOLERANCE


@pytest.mark.parametrize("body", [CANONICAL_BODY, MANNEQUIN_BODY], ids=["canonical", "mannequin"])
def test_bvh_in_a_reader_that_adds_the_hips_offset(viewer: Viewer, body: Body, clip: VrmClip) -> None:
    """three.js adds a joint's OFFSET to its position channels; other readers do not. So the hips have none."""
    fitted, frames = clip_to_body(clip, body), frames_of(clip)
    seen = viewer.call("sampleBvh", clip_to_bvh(fitted, body), [frame / clip.fps for frame in frames])
    expected = pose_body(body, fitted)[0][frames].numpy()
    places = np.stack([np.array(seen[bone]) / 100 for bone in body.bones], axis=1)
    assert float(np.linalg.norm(places - expected, axis=-1).max()) < TOLERANCE


def test_expressions_and_gaze_of_a_vrma(viewer: Viewer) -> None:
    clip = make_moving(num_frames=9)
    gaze = torch.stack([torch.linspace(-0.5, 0.5, 9), torch.linspace(0.3, -0.2, 9)], dim=1)
    clip = replace(clip, expressions={"happy": torch.linspace(0, 1, 9), "smug": torch.linspace(1, 0, 9)}, gaze=gaze)
    face = viewer.call("readFace", viewer.site.put("motion.vrma", clip_to_vrma(clip, MANNEQUIN_BODY)))
    assert face["preset"] == {"happy": pytest.approx(torch.linspace(0, 1, 9).tolist())}
    assert face["custom"] == {"smug": pytest.approx(torch.linspace(1, 0, 9).tolist())}
    assert np.abs(np.radians(face["gaze"]) - gaze.numpy()).max() < 1e-6


@pytest.mark.parametrize("name", ["vrm1", "vrm0", "crooked"])
def test_picture_shows_the_figure_from_the_front(viewer: Viewer, avatars: dict[str, Avatar], name: str) -> None:
    """The mannequin's left is blue: seen from the front it is on the picture's right, whatever the bones' rest."""
    avatar = avatars[name]
    show(viewer, avatar)
    clip = make_moving(avatar.body, widest=0.1)
    viewer.call("playJson", json_of(to_vrm0(clip) if avatar.version == "0" else clip))
    url = viewer.call("drawPose", 0.0, -3 if avatar.version == "0" else 3)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")).astype(int)
    blue, red = (picture[..., a] > picture[..., b] + 60 for a, b in ((2, 0), (0, 2)))
    assert blue.sum() > 500 and red.sum() > 500
    assert np.nonzero(blue)[1].mean() > np.nonzero(red)[1].mean() + 30
