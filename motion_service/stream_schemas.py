"""The wire of live streams: every message of ``WS /v1/motion/stream`` and of its server-sent events.

A message is one object ``{"v": 1, "type": ..., ...}``. Clients send JSON text or msgpack bytes as they like; the server
answers in the encoding that ``start`` asks for, and only chunks differ between the two (:class:`Chunk`). Frames are
counted from 0 at the stream's own rate, so frame i is at i / fps seconds; a *revision* is a stretch of frames in which
none is repeated or left out, and a new one begins wherever frames are replaced. How to play it: ``docs/stream.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from motion_service.errors import BadRequest
from motion_service.schemas import MAX_PROMPT, MAX_SEED, GazeKey, Problem, PromptPlanOut, QuatKey, RootKey, WeightKey
from motion_service.speak_schemas import (
    LIFE_SIGNS,
    AudioEnvelope,
    Emotion,
    LifeSign,
    SpeakSeconds,
    SpeechOut,
    State,
)
from motion_service.wording import check_text

STREAM_VERSION: Final = 1
MAX_MESSAGE: Final = 64 * 1024
"""Longest message of a client in bytes."""
MAX_TOKEN: Final = 16 * 1024
"""Longest resume token, characters."""
MAX_FRAME: Final = 2**40
"""Highest frame number a client may name; at 120 a second some 290 years."""

Encoding = Literal["json", "msgpack"]
At = Literal["now", "next"] | Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class _Message(BaseModel):
    """What all messages share."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    v: Literal[1] = 1


# --- from the client --------------------------------------------------------------------------------------------------


class Pose(BaseModel):
    """The last frames of an avatar: tracks as in the answers of this service, in their own axes and size."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    tracks: dict[str, Any] = Field(description="{VRM bone: [{t, x, y, z, w}, ...]}; the last second is enough.")
    root_position: list[Any] | None = Field(None, description="[{t, x, y, z}, ...] of the hips, m.")
    fps: float | None = Field(None, gt=0, le=240, allow_inf_nan=False)
    target: Literal["vrm1", "vrm0"] = "vrm1"
    rest_hips_height: float | None = Field(None, gt=0, le=100, allow_inf_nan=False)

    def to_document(self) -> dict[str, Any]:
        """The same as an answer of this service holds it."""
        metadata = {"target": self.target, "rest_hips_height": self.rest_hips_height}
        document = {"tracks": self.tracks, "root_position": self.root_position, "fps": self.fps}
        known = {name: value for name, value in document.items() if value is not None}
        return {**known, "metadata": {name: value for name, value in metadata.items() if value is not None}}


class Start(_Message):
    """Always the first message. With ``resume_token`` everything it does not say is as it was in the old stream."""

    type: Literal["start"]
    prompt: str = Field("", max_length=MAX_PROMPT, description="Empty: the avatar idles.")
    provider: Literal["auto", "mini", "dip"] = "auto"
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    guidance: float | None = Field(None, ge=0, le=100, allow_inf_nan=False)
    steps: int | None = Field(None, ge=1, le=200)
    fps: float = Field(20.0, ge=5, le=120, allow_inf_nan=False)
    target: Literal["vrm1", "vrm0"] = "vrm1"
    avatar: str | None = Field(None, pattern="^([0-9a-f]{32}|none)$")
    encoding: Encoding = "json"
    lead_sec: float = Field(1.0, ge=0.3, le=5, allow_inf_nan=False, description="Motion sent ahead of what is played.")
    root: Literal["free", "bounded", "in_place"] = "free"
    foot_lock: bool = True
    expressions: bool = Field(
        False, description="Blinking, gaze, relaxed fingers and mood; never the mouth. On with state."
    )
    fold: bool = True
    state: State | None = Field(None, description="What the body does by itself from the start; docs/speak.md.")
    emotion: Emotion = "neutral"
    still: list[LifeSign] = Field([], max_length=len(LIFE_SIGNS), description="Signs of life to leave out.")
    pose: Pose | None = Field(None, description="Begin in this pose instead of a neutral one.")
    resume_token: str | None = Field(None, max_length=MAX_TOKEN)
    frame: int | None = Field(
        None, ge=0, le=MAX_FRAME, description="With resume_token and pose: the frame that follows the pose."
    )

    _check_prompt = field_validator("prompt")(check_text)


class Prompt(_Message):
    """Another text. ``at``: now, next (after what is made already), or a time of the stream in seconds."""

    type: Literal["prompt"]
    text: str = Field("", max_length=MAX_PROMPT, description="Empty: back to idle.")
    at: At = "now"
    frame: int | None = Field(None, ge=0, le=MAX_FRAME, description="The frame on the screen.")

    _check_prompt = field_validator("text")(check_text)


class Speak(_Message):
    """Say a text: the body moves with it. ``prompt_applied`` tells when it begins, and its phrases and beats."""

    type: Literal["speak"]
    text: str = Field(min_length=1, max_length=MAX_PROMPT)
    seconds: SpeakSeconds | None = Field(None, description="Length. Default: the envelope's, else estimated.")
    audio_envelope: AudioEnvelope | None = None
    emotion: Emotion | None = Field(None, description="Default: as before.")
    then: Literal["idle", "listen", "think"] = "idle"
    at: At = "now"
    frame: int | None = Field(None, ge=0, le=MAX_FRAME, description="The frame on the screen.")

    _check_prompt = field_validator("text")(check_text)


class SetState(_Message):
    """What the body does by itself until something else is asked for."""

    type: Literal["state"]
    to: State
    emotion: Emotion | None = Field(None, description="Default: as before.")
    at: At = "now"
    frame: int | None = Field(None, ge=0, le=MAX_FRAME, description="The frame on the screen.")


class Interrupt(_Message):
    """Stop talking, or whatever it does, within 0.3 s."""

    type: Literal["interrupt"]
    to: Literal["idle", "listen", "think"] = "listen"
    frame: int | None = Field(None, ge=0, le=MAX_FRAME, description="The frame on the screen.")


class Ack(_Message):
    """Once a second: the frame on the screen."""

    type: Literal["ack"]
    frame: int = Field(ge=0, le=MAX_FRAME)


class Pause(_Message):
    """The client stops playing."""

    type: Literal["pause"]


class Resume(_Message):
    """It plays on from where it stopped."""

    type: Literal["resume"]


class SeekPose(_Message):
    """The avatar is elsewhere than the stream; go on from there."""

    type: Literal["seek_pose"]
    pose: Pose
    frame: int | None = Field(None, ge=0, le=MAX_FRAME)


class Stop(_Message):
    """The end: at once, or in a neutral stance."""

    type: Literal["stop"]
    to: Literal["idle"] | None = None
    frame: int | None = Field(None, ge=0, le=MAX_FRAME)


Message = Start | Prompt | Speak | SetState | Interrupt | Ack | Pause | Resume | SeekPose | Stop
CLIENT_MESSAGES: Final = get_args(Message)
ClientMessage = Annotated[Message, Field(discriminator="type")]
_CLIENT: Final[TypeAdapter[Message]] = TypeAdapter(ClientMessage)


def read_message(fields: object) -> Message:
    """A parsed message of a client. Raises :class:`BadRequest` naming the field."""
    if not isinstance(fields, Mapping):
        raise BadRequest("a message is one object with v, type and its fields", field="type")
    if fields.get("v", STREAM_VERSION) != STREAM_VERSION:
        raise BadRequest(f"v: this service speaks version {STREAM_VERSION}", field="v")
    try:
        return _CLIENT.validate_python(dict(fields))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = ".".join(str(part) for part in first["loc"][1:2]) or "type"
        raise BadRequest(f"{name}: {first['msg'].removeprefix('Value error, ')}"[:300], field=name[:80]) from None


# --- from the server --------------------------------------------------------------------------------------------------


class Started(_Message):
    """The answer to ``start``. Frames begin with ``first_frame``, which is 0 unless a stream is resumed."""

    type: Literal["started"]
    session_id: str
    fps: float
    lead_sec: float
    first_frame: int
    revision: int
    seed: int
    generator: str
    encoding: Encoding
    target: Literal["vrm1", "vrm0"]
    rest_hips_height: float = Field(description="Metres; scale root positions by the avatar's height over this.")
    bones: list[str] = Field(description="Those that chunks move.")
    prompt_plan: PromptPlanOut
    warnings: list[str]


class Chunk(_Message):
    """Frames ``first_frame`` to ``first_frame + n - 1``, as JSON.

    As msgpack ``tracks`` is ``bones`` [name] and ``rot`` (float32 little-endian, n x bones x 4, xyzw), ``root`` is
    float32 n x 3, ``contacts`` float32 n x 4, ``expressions`` {name: float32 n}, ``look_at`` float32 n x 2.
    """

    type: Literal["chunk"]
    index: int = Field(description="Counts chunks, without a gap.")
    revision: int
    first_frame: int
    n: int
    frames: int = Field(description="The same number as n.")
    fps: float
    t0: float = Field(description="Seconds of first_frame.")
    generator: str
    tracks: dict[str, list[QuatKey]] = Field(description="t in seconds of the stream.")
    root: list[RootKey]
    contacts: list[list[float]]
    expressions: dict[str, list[WeightKey]] | None = Field(None, description="Only there when asked for.")
    look_at: list[GazeKey] | None = Field(None, description="Only there when asked for.")
    resume_token: str | None = Field(None, description="Every few seconds; keep the latest one.")


class PromptApplied(_Message):
    """Every frame from ``from_frame`` on is replaced by those of ``revision``, which follow."""

    type: Literal["prompt_applied"]
    from_frame: int
    revision: int
    t0: float
    reason: Literal["prompt", "seek", "stop", "speak", "state", "interrupt"]
    captions: list[str] = Field(description="What the model was told, in order of time.")
    prompt_plan: PromptPlanOut
    warnings: list[str]
    speech: SpeechOut | None = Field(None, description="With speak: phrases and beats, in seconds from t0.")
    state: State | None = Field(None, description="With speak, state and interrupt: what the body does in the end.")


class Gap(_Message):
    """The client did not read fast enough: frames ``from_frame`` to ``to_frame - 1`` will never come."""

    type: Literal["gap"]
    from_frame: int
    to_frame: int


class DrainingNotice(_Message):
    """This server is going away: start anew, here or elsewhere, with ``resume_token``."""

    type: Literal["draining"]
    resume_token: str


class StreamError(_Message):
    """What was wrong. The stream goes on unless ``stopped`` follows."""

    type: Literal["error"]
    problem: Problem


class Stopped(_Message):
    """Nothing follows."""

    type: Literal["stopped"]
    frames: int = Field(description="How many frames the stream had: the last one is frames - 1.")


SERVER_MESSAGES: Final = (Started, Chunk, PromptApplied, Gap, DrainingNotice, StreamError, Stopped)
