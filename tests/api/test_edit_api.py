"""POST /v1/motion/edit on a fake model: which clips it takes, what it refuses, and what the answer holds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from motion_service.clips import VrmClip
from motion_service.edit_schemas import MAX_EDIT_BODY
from motion_service.errors import GenerationFailed
from motion_service.export.read import json_to_clip
from motion_service.export.vrm_json import encode_response
from motion_service.schemas import MotionOptions, MotionResponse
from motion_service.source import EditPlan, SourceClip, SourceRequest
from motion_service.vrm.avatar import read_avatar
from motion_service.vrm.body import CANONICAL_BODY, MANNEQUIN_BODY
from motion_service.vrm.convention import to_vrm0
from tests.export.moving import make_moving, make_whole_body
from tests.fakes import Api, FakeSource, StartApi, make_wave
from tests.vrm.avatar_files import MANNEQUINS

PATH = "/v1/motion/edit"


@dataclass
class FakeEditor(FakeSource):
    """A FakeSource that can edit: the new part is a wave."""

    edits: list[tuple[SourceRequest, VrmClip, EditPlan]] = field(default_factory=list)

    async def edit(self, request: SourceRequest, clip: VrmClip, plan: EditPlan) -> SourceClip:
        self.edits.append((request, clip, plan))
        made = await self.generate(request)
        return SourceClip(make_wave(clip.seconds, request.seed), *(getattr(made, name) for name in _FACTS))


_FACTS = ("generator", "checkpoint", "licence", "steps", "guidance", "seed", "timings_ms")


@pytest.fixture
def editor() -> FakeEditor:
    return FakeEditor()


@pytest.fixture
def api(start_api: StartApi, editor: FakeEditor) -> Api:
    return start_api({"mini": editor})


def document(clip: VrmClip, **fields: Any) -> dict[str, Any]:
    """A clip as answers hold it."""
    metadata = {"rest_hips_height": clip.rest_hips_height, "contacts": clip.contacts.tolist()}
    made: dict[str, Any] = json.loads(encode_response(clip, {"fps": clip.fps, "metadata": metadata}))
    return made | fields


CLIP = document(make_moving(CANONICAL_BODY, 60))
KEPT = [*range(15), *range(45, 60)]


async def edit(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.http.post(PATH, json={"mode": "in_between", **fields})
    assert answer.status_code == 200, answer.text
    motion: dict[str, Any] = answer.json()
    return motion


async def refuse(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.http.post(PATH, json={"mode": "in_between", **fields})
    problem: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == answer.status_code
    assert "Traceback" not in answer.text and api.files() == []
    return problem


# --- what it answers --------------------------------------------------------------------------------------------------


async def test_the_answer_is_that_of_a_generation(api: Api, editor: FakeEditor) -> None:
    motion = await edit(api, clip=CLIP, prompt="a person bows", seed=7)
    MotionResponse.model_validate(motion)
    metadata = motion["metadata"]
    assert (motion["fallback_used"], metadata["generator"], metadata["seed"]) == (False, "mini", 7)
    assert metadata["edit"] == {"mode": "in_between", "frames": [15, 45], "fps": 20.0}
    assert (metadata["prompt"], metadata["prompt_plan"]["action"]) == ("a person bows", "bow")
    assert metadata["warnings"] == []
    ((request, clip, plan),) = editor.edits
    assert (request.plan.prompt, request.guidance, plan) == ("a person bows", None, EditPlan("in_between"))
    assert clip.num_frames == 60
    assert (await api.http.get(motion["url"])).json() == motion
    assert api.jobs.find(motion["job_id"]).state == "done"


def assert_same_track(got: list[dict[str, float]], sent: list[dict[str, float]], frames: Iterable[int]) -> None:
    """Equal to the last of five digits, signs of whole quaternions aside."""
    for frame in frames:
        sign = 1 if sum(got[frame][axis] * sent[frame][axis] for axis in "xyzw") > 0 else -1
        for axis in "xyzw":
            assert got[frame][axis] == pytest.approx(sign * sent[frame][axis], abs=1.01e-5), (frame, axis)


async def test_kept_frames_come_back_digit_by_digit(api: Api) -> None:
    motion = await edit(api, clip=CLIP, seed=1)
    assert [motion["root_position"][frame] for frame in KEPT] == [CLIP["root_position"][frame] for frame in KEPT]
    for bone, track in CLIP["tracks"].items():
        assert_same_track(motion["tracks"][bone], track, KEPT)
    assert motion["tracks"]["rightUpperArm"][30] != CLIP["tracks"]["rightUpperArm"][30]


@pytest.mark.parametrize("mode", ["in_between", "upper_body"])
@pytest.mark.parametrize("options", [{}, {"fold": False}, {"foot_lock": True}, {"target": "vrm0"}], ids=str)
async def test_fingers_eyes_and_jaw_come_back(api: Api, mode: str, options: dict[str, Any]) -> None:
    clip = make_moving(make_whole_body(), 60)
    extra = clip.rotations.keys() - set(MANNEQUIN_BODY.bones)
    motion = await edit(api, mode=mode, clip=document(clip), **options)
    sent = document(to_vrm0(clip))["tracks"] if "target" in options else document(clip)["tracks"]
    assert motion["tracks"].keys() == clip.rotations.keys() - {"upperChest"}, "the fake model has none"
    assert len(extra) == 33
    for bone in extra:
        assert_same_track(motion["tracks"][bone], sent[bone], range(60))


async def test_a_job_with_fingers_keeps_them(api: Api) -> None:
    made = await edit(api, clip=document(make_moving(make_whole_body(), 60)), repetitions=2)
    motion = await edit(api, job_id=made["job_id"], mode="upper_body", repetitions=2)
    for clip in motion["clips"]:
        for bone in ("jaw", "leftEye", "rightThumbDistal", "leftLittleProximal"):
            assert_same_track(clip["tracks"][bone], made["tracks"][bone], range(60))


async def test_upper_body_leaves_legs_and_path(api: Api) -> None:
    motion = await edit(api, mode="upper_body", clip=CLIP, prompt="waves")
    assert motion["root_position"] == CLIP["root_position"]
    for bone in ("hips", "leftUpperLeg", "rightFoot", "leftToes"):
        assert_same_track(motion["tracks"][bone], CLIP["tracks"][bone], range(60))
    assert motion["tracks"]["spine"] != CLIP["tracks"]["spine"]
    assert motion["metadata"]["edit"]["frames"] == [0, 60]


async def test_a_job_can_be_edited_by_its_id(api: Api) -> None:
    made = await api.generate("a person waves", seed=3, target="vrm0", fps=30)
    motion = await edit(api, job_id=made["job_id"], target="vrm0")
    assert (motion["fps"], motion["duration_sec"]) == (30, 5.0)
    assert motion["root_position"][:30] == made["root_position"][:30]
    assert motion["tracks"]["hips"][:30] == made["tracks"]["hips"][:30]
    again = await edit(api, job_id=motion["job_id"], mode="upper_body")
    assert again["metadata"]["target"] == "vrm0", "as the job that is edited"
    assert again["root_position"] == motion["root_position"]
    turned = await edit(api, job_id=motion["job_id"], mode="upper_body", target="vrm1")
    assert turned["metadata"]["target"] == "vrm1"
    assert turned["root_position"][9]["y"] == motion["root_position"][9]["y"]


async def test_a_job_keeps_its_avatar(start_api: StartApi, editor: FakeEditor) -> None:
    api = start_api({"mini": editor})
    avatars = {version: read_avatar(path.read_bytes()) for version, path in MANNEQUINS.items()}
    for avatar in avatars.values():
        api.pipeline.avatars.put(avatar)
    made = await api.generate(seed=3, avatar=avatars["0.x"].id)
    motion = await edit(api, job_id=made["job_id"])
    assert motion["metadata"]["warnings"] == []
    assert [motion["metadata"][name] for name in ("avatar", "target")] == [avatars["0.x"].id, "vrm0"]
    assert motion["root_position"][:25] == made["root_position"][:25]
    other = await edit(api, job_id=made["job_id"], avatar=avatars["1.0"].id)
    assert [other["metadata"][name] for name in ("avatar", "target")] == [avatars["1.0"].id, "vrm1"]
    assert other["metadata"]["warnings"] == ["target: the avatar is for vrm1, so the tracks are too"]
    free = await edit(api, job_id=made["job_id"], avatar="none", target="vrm1")
    assert [free["metadata"][name] for name in ("avatar", "target")] == ["none", "vrm1"]
    plain = await api.generate(seed=3)
    with_default = start_api({"mini": editor}, defaults=MotionOptions(avatar=avatars["1.0"].id, target="vrm0"))
    with_default.pipeline.avatars.put(avatars["1.0"])
    again = await edit(with_default, job_id=plain["job_id"])
    assert (again["metadata"]["avatar"], again["metadata"]["target"]) == (None, "vrm1")


@pytest.mark.parametrize("place", ["metadata", "top"])
async def test_a_vrm0_clip_is_turned_to_our_axes(api: Api, editor: FakeEditor, place: str) -> None:
    clip = make_moving(CANONICAL_BODY, 60)
    sent = document(to_vrm0(clip))
    if place == "top":
        sent["target"] = "vrm0"
    else:
        sent["metadata"]["target"] = "vrm0"
    motion = await edit(api, clip=sent)
    assert float((editor.edits[0][1].hips - clip.hips).abs().max()) < 1e-4
    assert motion["metadata"]["target"] == "vrm0", "and turned back for the answer"
    assert motion["root_position"][:15] == sent["root_position"][:15]
    turned = await edit(api, clip=sent, target="vrm1")
    assert turned["root_position"][0]["x"] == pytest.approx(float(clip.hips[0, 0]), abs=1e-4)


@pytest.mark.parametrize("fps", [12.0, 30.0, 60.0])
async def test_a_clip_keeps_its_own_rate(api: Api, fps: float) -> None:
    sent = document(make_moving(CANONICAL_BODY, round(3 * fps), fps))
    motion = await edit(api, clip=sent)
    assert (motion["fps"], len(motion["root_position"])) == (fps, round(3 * fps))
    assert motion["root_position"][-5:] == sent["root_position"][-5:]
    other = await edit(api, clip=sent, fps=20)
    assert (other["fps"], other["duration_sec"]) == (20, 3.0)


async def test_the_bare_shape_is_enough(api: Api) -> None:
    bare = {"fps": 20, "tracks": {"hips": CLIP["tracks"]["hips"]}, "rootPosition": CLIP["rootPosition"]}
    motion = await edit(api, clip=bare)
    assert motion["root_position"][:15] == CLIP["root_position"][:15]
    assert {"head", "leftFoot"} <= set(motion["tracks"])


async def test_no_text_means_no_guidance(api: Api, editor: FakeEditor) -> None:
    for fields in ({}, {"prompt": ""}, {"prompt": " \n"}, {"prompt": "", "guidance": 4.0}):
        motion = await edit(api, clip=CLIP, **fields)
        assert motion["metadata"]["prompt"] == ""
    assert [request.guidance for request, _, _ in editor.edits] == [0.0] * 4
    assert {request.plan.segments for request, _, _ in editor.edits} == {()}


async def test_repetitions_formats_and_options_are_those_of_a_generation(api: Api, editor: FakeEditor) -> None:
    motion = await edit(api, clip=CLIP, repetitions=3, seed=5, steps=4)
    assert [clip["seed"] for clip in motion["clips"]] == [5, 6, 7]
    assert motion["clips"][0]["root_position"][:15] == motion["clips"][2]["root_position"][:15]
    assert editor.edits[0][0].steps == 4
    answer = await api.http.post(PATH, json={"mode": "upper_body", "clip": CLIP}, headers={"accept": "text/x.bvh"})
    assert answer.headers["content-type"] == "application/json"
    packed = await api.http.post(PATH, json={"mode": "upper_body", "clip": CLIP, "format": "vrma"})
    assert packed.content[:4] == b"glTF" and packed.headers["x-motion-generator"] == "mini"
    locked = await edit(api, clip=CLIP, foot_lock=True)
    assert "foot_lock_moved_cm" in locked["metadata"]["quality"]
    assert "foot_lock_moved_cm" not in motion["metadata"]["quality"], "off unless asked for"
    await edit(api, clip=CLIP, mood="happy")


async def test_server_defaults_do_not_change_what_is_kept(start_api: StartApi, editor: FakeEditor) -> None:
    defaults = MotionOptions(
        fps=30,
        foot_lock=True,
        provider="dip",
        duration_sec=2.0,
        artifacts=[],
        root="bounded",
        settle=True,
        expressions=True,
        target="vrm0",
        compat="boost-safe",
    )
    api = start_api({"mini": editor}, defaults=defaults)
    motion = await edit(api, clip=CLIP)
    assert (motion["fps"], motion["duration_sec"], motion["metadata"]["target"]) == (20, 3.0, "vrm1")
    assert [motion["root_position"][frame] for frame in KEPT] == [CLIP["root_position"][frame] for frame in KEPT]
    for bone, track in CLIP["tracks"].items():
        assert_same_track(motion["tracks"][bone], track, KEPT)
    assert motion["tracks"].keys() == CLIP["tracks"].keys() and not {"expressions", "look_at"} & motion.keys()
    said = await edit(api, clip=CLIP, root="bounded", settle=True, expressions=True)
    assert max(abs(key["z"]) for key in said["root_position"]) < 0.31 < CLIP["root_position"][-1]["z"]
    assert said["root_position"][-1]["z"] == pytest.approx(0, abs=1e-3) and "look_at" in said


async def test_upper_chest_is_folded_for_a_model_without_it(api: Api) -> None:
    clip = make_moving(MANNEQUIN_BODY, 60)
    motion = await edit(api, clip=document(clip), fold=False)
    assert "upperChest" not in motion["tracks"]
    assert json_to_clip(motion).num_frames == 60


def place_job(api: Api, job_id: str, content: bytes) -> None:
    api.pipeline.store.save(job_id, "vrm-json", lambda path: path.write_bytes(content))


async def test_our_own_longest_answer_can_be_edited(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await edit(api, clip=CLIP, repetitions=8, seed=1)
    monkeypatch.setattr("motion_service.export.read.MAX_BYTES", 1000)
    monkeypatch.setattr("motion_service.edit.MAX_STORED", len(json.dumps(made)) // 3)
    motion = await edit(api, job_id=made["job_id"], mode="upper_body")
    assert motion["root_position"] == made["root_position"], "the first of them"
    assert_same_track(motion["tracks"]["leftFoot"], made["tracks"]["leftFoot"], range(60))


@pytest.mark.parametrize(("fps", "frames"), [(120.0, 14_400), (29.98, 3598)])
async def test_clips_of_120_s_at_any_rate_can_be_edited(api: Api, fps: float, frames: int) -> None:
    clip = make_moving(CANONICAL_BODY, frames, fps)
    head = {"fps": fps, "metadata": {"contacts": [[0, 0, 0, 0]] * frames}}
    short = VrmClip({"hips": clip.rotations["hips"]}, clip.hips, clip.contacts, fps, clip.rest_hips_height)
    place_job(api, "0" * 32, encode_response(short, head))
    motion = await edit(api, job_id="0" * 32, prefix_end=0.999, suffix_start=1, artifacts=[])
    assert (len(motion["root_position"]), motion["fps"]) == (frames, fps)


async def test_what_cannot_be_edited_of_a_job_is_blamed_on_the_job(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await api.generate(artifacts=[])
    for content in (b"{", b"[]", b'{"tracks": {"tail": []}}', encode_response(make_wave(0.05, 1), {"fps": 20})):
        place_job(api, "1" * 32, content)
        answer = await api.http.post(PATH, json={"mode": "upper_body", "job_id": "1" * 32})
        assert (answer.status_code, answer.json()["field"]) == (422, "job_id"), answer.text
    monkeypatch.setattr("motion_service.edit.MAX_STORED", 1000)
    answer = await api.http.post(PATH, json={"mode": "upper_body", "job_id": made["job_id"]})
    problem = answer.json()
    assert (answer.status_code, problem["field"]) == (422, "job_id")
    assert "larger than" in problem["detail"] and "lower fps" in problem["detail"]


async def test_quality_is_that_of_the_clip_as_made(api: Api) -> None:
    free, bounded = [await edit(api, clip=CLIP, seed=1, root=root) for root in ("free", "bounded")]
    assert free["root_position"] != bounded["root_position"]
    assert free["metadata"]["quality"] == bounded["metadata"]["quality"]
    schemas = (await api.http.get("/openapi.json")).json()["components"]["schemas"]
    assert "as made" in schemas["MotionMetadata"]["properties"]["quality"]["description"]


# --- which model ------------------------------------------------------------------------------------------------------


async def test_auto_takes_mdm_as_far_as_it_reaches(start_api: StartApi) -> None:
    loaded = {"mdm": FakeEditor("mdm", max_seconds=9.8), "mini": FakeEditor("mini"), "dip": FakeSource("dip")}
    api = start_api(dict(loaded))
    longer = document(make_moving(CANONICAL_BODY, 197))
    assert (await edit(api, clip=CLIP))["metadata"]["generator"] == "mdm"
    assert (await edit(api, clip=document(make_moving(CANONICAL_BODY, 196))))["metadata"]["generator"] == "mdm"
    assert (await edit(api, clip=longer))["metadata"]["generator"] == "mini"
    assert (await edit(api, clip=CLIP, provider="mini"))["metadata"]["generator"] == "mini"


async def test_a_clip_too_long_for_the_model_is_refused(start_api: StartApi) -> None:
    api = start_api({"mdm": FakeEditor("mdm", max_seconds=9.8)})
    problem = await refuse(api, clip=document(make_moving(CANONICAL_BODY, 197)), provider="mdm")
    assert (problem["status"], problem["field"]) == (422, "clip")
    assert "9.8 s" in problem["detail"]
    assert (await refuse(api, clip=document(make_moving(CANONICAL_BODY, 197))))["status"] == 422


@pytest.mark.parametrize("provider", ["dip", "placeholder"])
async def test_models_that_cannot_edit_are_refused(api: Api, provider: str) -> None:
    problem = await refuse(api, clip=CLIP, provider=provider)
    assert (problem["status"], problem["field"]) == (422, "provider")


@pytest.mark.parametrize("provider", ["auto", "mdm", "mini"])
async def test_without_a_model_there_is_no_placeholder(start_api: StartApi, provider: str) -> None:
    problem = await refuse(start_api({"mini": FakeSource()}), clip=CLIP, provider=provider)
    assert (problem["status"], problem["type"].rpartition("/")[2]) == (503, "model-unavailable")


async def test_failures_are_problems(start_api: StartApi) -> None:
    failing = start_api({"mini": FakeEditor(failure=GenerationFailed())})
    assert (await refuse(failing, clip=CLIP))["status"] == 500
    broken = start_api({"mini": FakeEditor(failure=RuntimeError("secret"))})
    problem = await refuse(broken, clip=CLIP)
    assert problem["status"] == 500 and "secret" not in str(problem)


async def test_a_missed_deadline_is_a_504(start_api: StartApi) -> None:
    gate = threading.Event()
    api = start_api({"mini": FakeEditor(gate=gate)})
    try:
        problem = await refuse(api, clip=CLIP, deadline_ms=1)
    finally:
        gate.set()
    assert (problem["status"], problem["type"].rpartition("/")[2]) == (504, "deadline")


# --- what it refuses --------------------------------------------------------------------------------------------------

HIPS = CLIP["tracks"]["hips"]
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("no mode", {"mode": None, "clip": CLIP}, "mode"),
    ("unknown mode", {"mode": "lower_body", "clip": CLIP}, "mode"),
    ("neither", {}, "clip"),
    ("both", {"clip": CLIP, "job_id": "0" * 32}, "clip"),
    ("unknown job", {"job_id": "0" * 32}, "job_id"),
    ("no job id", {"job_id": "../../etc/passwd"}, "job_id"),
    ("clip is a list", {"clip": [1]}, "clip"),
    ("clip is empty", {"clip": {}}, "clip"),
    ("tracks are a list", {"clip": CLIP | {"tracks": []}}, "clip"),
    ("unknown bone", {"clip": CLIP | {"tracks": {"tail": HIPS}}}, "clip"),
    ("no keys", {"clip": CLIP | {"tracks": {"hips": []}}}, "clip"),
    ("key without w", {"clip": CLIP | {"tracks": {"hips": [{"t": 0, "x": 0, "y": 0, "z": 0}]}}}, "clip"),
    ("not unit", {"clip": CLIP | {"tracks": {"hips": [{"t": 0, "x": 0, "y": 0, "z": 0, "w": 2}]}}}, "clip"),
    ("times go back", {"clip": CLIP | {"root_position": CLIP["root_position"][::-1]}}, "clip"),
    ("fps zero", {"clip": CLIP | {"fps": 0}}, "clip"),
    ("fps text", {"clip": CLIP | {"fps": "20"}}, "clip"),
    ("height zero", {"clip": CLIP | {"metadata": {"rest_hips_height": 0}}}, "clip"),
    ("unknown target", {"clip": CLIP | {"target": "vrm2"}}, "clip"),
    ("unhashable target", {"clip": CLIP | {"target": {"a": 1}}}, "clip"),
    ("one frame", {"clip": {"tracks": {"hips": HIPS[:1]}, "root_position": CLIP["root_position"][:1]}}, "clip"),
    ("too long", {"clip": {"tracks": {"hips": [HIPS[0], HIPS[1] | {"t": 121.0}]}, "fps": 20}}, "clip"),
    ("no gap", {"clip": CLIP, "prefix_end": 0.5, "suffix_start": 0.51}, "suffix_start"),
    ("gap inside out", {"clip": CLIP, "prefix_end": 0.8}, "suffix_start"),
    ("prefix below 0", {"clip": CLIP, "prefix_end": -0.1}, "prefix_end"),
    ("suffix above 1", {"clip": CLIP, "suffix_start": 1.1}, "suffix_start"),
    ("a length", {"clip": CLIP, "duration_sec": 2}, "duration_sec"),
    ("targets", {"clip": CLIP, "target_joints": {"pelvis": [0, 1, 2]}}, "target_joints"),
    ("prompt number", {"clip": CLIP, "prompt": 5}, "prompt"),
    ("prompt too long", {"clip": CLIP, "prompt": "a" * 2001}, "prompt"),
    ("prompt NUL", {"clip": CLIP, "prompt": "wa\x00ve"}, "prompt"),
    ("no such avatar", {"clip": CLIP, "avatar": "0" * 32}, "avatar"),
    ("steps zero", {"clip": CLIP, "steps": 0}, "steps"),
]


@pytest.mark.parametrize(("fields", "name"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_bad_requests_name_the_field(api: Api, editor: FakeEditor, fields: dict[str, Any], name: str) -> None:
    problem = await refuse(api, **fields)
    assert (problem["status"], problem["field"]) == (422, name)
    assert editor.edits == [] and api.jobs.recent(10) == []


async def test_numbers_that_are_none_are_refused(api: Api) -> None:
    text = json.dumps({"mode": "in_between", "clip": CLIP}).replace('"fps": 20.0', '"fps": NaN')
    answer = await api.http.post(PATH, content=text, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["field"]) == (422, "clip")
    deep = '{"mode": "in_between", "clip": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"
    assert (await api.http.post(PATH, content=deep, headers={"content-type": "application/json"})).status_code == 400


async def test_the_body_may_be_larger_here_but_not_without_bound(api: Api) -> None:
    long = document(make_moving(CANONICAL_BODY, 2400))
    text = json.dumps({"mode": "upper_body", "clip": long, "artifacts": []}, separators=(",", ":"))
    assert 2**21 < len(text) < MAX_EDIT_BODY
    assert (await api.http.post(PATH, content=text, headers={"content-type": "application/json"})).status_code == 200
    padded = text + " " * MAX_EDIT_BODY
    answer = await api.http.post(PATH, content=padded, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["field"]) == (413, "body")
    other = await api.http.post("/v1/motion/generate", content=text, headers={"content-type": "application/json"})
    assert other.status_code == 413


async def test_edits_wait_in_the_same_queue(start_api: StartApi, editor: FakeEditor) -> None:
    api = start_api({"mini": editor}, queue_size=0)
    assert (await refuse(api, clip=CLIP))["status"] == 429
