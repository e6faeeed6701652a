"""POST /v1/motion/speak and MOTION_SPEECH_FIT on a fake model: lengths, what is told, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from motion_service.placeholder import PlaceholderSource
from motion_service.speak.phrases import estimate_seconds
from motion_service.speak_schemas import SpeakResponse
from tests.fakes import Api, FakeSource, StartApi

PATH = "/v1/motion/speak"
REPLY = "こんにちは、今日はいい天気ですね。散歩に行きましょうか。"


async def speak(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.http.post(PATH, json={"text": REPLY, "artifacts": [], **fields})
    assert answer.status_code == 200, answer.text
    SpeakResponse.model_validate(answer.json())
    document: dict[str, Any] = answer.json()
    return document


def turns(document: dict[str, Any], bone: str) -> np.ndarray:
    return np.array([[key[axis] for axis in "xyzw"] for key in document["tracks"][bone]])


def speeds(track: np.ndarray, fps: float) -> np.ndarray:
    """Degrees a second."""
    dots = np.abs((track[1:] * track[:-1]).sum(-1)).clip(0, 1)
    return np.degrees(2 * np.arccos(dots)) * fps


@pytest.mark.parametrize("seconds", [0.5, 2.0, 7.3])
async def test_it_lasts_as_long_as_asked(start_api: StartApi, seconds: float) -> None:
    document = await speak(start_api({"mini": FakeSource()}), seconds=seconds)
    assert abs(document["duration_sec"] - seconds) <= 0.3
    told = document["metadata"]["speech"]
    assert told["seconds"] == seconds and not told["estimated"]
    assert all(0 <= beat["t"] <= seconds for beat in told["beats"]) and told["beats"]


async def test_it_estimates_and_says_so(start_api: StartApi) -> None:
    document = await speak(start_api())
    told = document["metadata"]["speech"]
    assert told["estimated"] and told["seconds"] == pytest.approx(estimate_seconds(REPLY), abs=1e-3)
    texts = [phrase["text"] for phrase in told["phrases"]]
    assert texts == ["こんにちは", "今日はいい天気ですね", "散歩に行きましょうか"]


async def test_hands_beat_and_everything_rests_in_the_end(start_api: StartApi) -> None:
    document = await speak(start_api(placeholder=PlaceholderSource()), provider="placeholder", seed=5, seconds=4.0)
    arms = speeds(turns(document, "rightLowerArm"), 20) + speeds(turns(document, "leftLowerArm"), 20)
    assert arms.max() > 60 and arms[-1] < 30
    assert document["fallback_used"] and document["metadata"]["fallback_reason"] == "requested"


async def test_the_same_seed_gives_the_same_motion(start_api: StartApi) -> None:
    api = start_api()
    first, again, other = [await speak(api, seed=seed) for seed in (1, 1, 2)]
    assert first["tracks"] == again["tracks"] and first["tracks"] != other["tracks"]


async def test_emotions_change_body_and_face_but_not_the_mouth(start_api: StartApi) -> None:
    api = start_api()
    plain, sad = [await speak(api, seed=1, emotion=emotion) for emotion in ("neutral", "sad")]
    assert {*sad["expressions"]} == {"blink", "sad"} and {*plain["expressions"]} == {"blink"}
    assert not np.allclose(turns(plain, "head"), turns(sad, "head"))


async def test_signs_of_life_can_be_left_out(start_api: StartApi) -> None:
    document = await speak(start_api(), still=["blink", "gaze", "fingers", "breathing", "weight"])
    assert not document.get("expressions") and "look_at" not in document
    assert not any("Index" in bone for bone in document["tracks"])


async def test_it_follows_the_voice(start_api: StartApi) -> None:
    times = np.arange(0, 3, 0.02)
    peaks = [0.4, 0.8, 1.3, 1.9, 2.4]
    values = sum(np.exp(-0.5 * ((times - peak) / 0.06) ** 2) for peak in peaks)
    document = await speak(start_api(), audio_envelope={"rate": 50.0, "values": np.asarray(values).tolist()})
    beats = [beat["t"] for beat in document["metadata"]["speech"]["beats"]]
    assert beats and all(min(abs(beat - peak) for peak in peaks) < 0.1 for beat in beats)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"duration_sec": 2.0}, "duration_sec"),
        ({"loop": True}, "loop"),
        ({"seconds": 0.0}, "seconds"),
        ({"emotion": "hungry"}, "emotion"),
        ({"audio_envelope": {"rate": 5.0, "values": [1.0]}}, "audio_envelope.rate"),
        ({"audio_envelope": {"rate": 50.0, "values": [-1.0]}}, "audio_envelope.values"),
        ({"text": ""}, "prompt"),
    ],
)
async def test_what_cannot_be_is_named(start_api: StartApi, fields: dict[str, Any], named: str) -> None:
    answer = await start_api().http.post(PATH, json={"text": REPLY, **fields})
    assert answer.status_code == 422 and answer.json()["field"].startswith(named.split(".")[0]), answer.json()


async def test_a_reply_to_generate_becomes_speech_only_where_that_is_switched_on(start_api: StartApi) -> None:
    payload = {"prompt": REPLY, "duration_sec": 4.0, "fps": 24.0, "format": "vrm-json", "seed": 1}
    api = start_api()
    plain = (await api.http.post("/v1/motion/generate", json=payload)).json()
    assert plain["duration_sec"] == 4.0 and "speech" not in plain["metadata"]
    api.pipeline.speech_fit = True
    fitted = (await api.http.post("/v1/motion/generate", json=payload)).json()
    assert fitted["duration_sec"] == pytest.approx(estimate_seconds(REPLY) + 0.25, abs=0.05) and fitted["fps"] == 24
    assert len(fitted["tracks"]["hips"]) == round(fitted["duration_sec"] * 24)
    asked = (await api.http.post("/v1/motion/generate", json={**payload, "prompt": "手を振って"})).json()
    assert asked["duration_sec"] == 4.0 and "speech" not in asked["metadata"]
