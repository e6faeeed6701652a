"""The wire of ``POST /v1/motion/speak``: the options of a generation, and what is said, how long, loud and felt."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from motion_service.schemas import (
    MAX_PROMPT,
    MAX_SECONDS,
    GenerateRequest,
    MotionMetadata,
    MotionOptions,
    MotionResponse,
)

Emotion = Literal["neutral", "happy", "sad", "angry", "shy", "tired", "energetic"]
State = Literal["idle", "listen", "think", "speak"]
LifeSign = Literal["blink", "gaze", "breathing", "weight", "fingers"]
SpeakSeconds = Annotated[float, Field(ge=0.3, le=MAX_SECONDS - 1, allow_inf_nan=False)]
LIFE_SIGNS: Final = get_args(LifeSign)
MAX_SPEAK_BODY: Final = 512 * 1024
"""Longest body of a request in bytes: 120 s of loudness at 100 Hz are 250 kB with all digits."""
MAX_LOUDNESS: Final = 12_000
"""Values of an envelope: 120 s at 100 Hz."""


class AudioEnvelope(BaseModel):
    """How loud the voice is over time."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    rate: float = Field(ge=20, le=100, allow_inf_nan=False, description="Values a second.")
    values: list[float] = Field(
        min_length=1, max_length=MAX_LOUDNESS, description="RMS from the start of the audio, in any unit."
    )

    @field_validator("values")
    @classmethod
    def _check_values(cls, values: list[float]) -> list[float]:
        if not all(math.isfinite(value) and 0 <= value <= 1e9 for value in values):
            raise ValueError("must be finite numbers of at least 0")
        return values


class SpeakRequest(GenerateRequest):
    """What is said, and the options of a generation.

    Of these ``duration_sec``, ``timeline``, ``loop`` and ``target_joints`` are not taken; ``expressions`` is on unless
    the request says else.
    """

    prompt: str = Field("", max_length=MAX_PROMPT, description="Another name of text.")
    text: str = Field(
        "", max_length=MAX_PROMPT, description="What is said, English or Japanese.", examples=["こんにちは！（お辞儀）"]
    )
    seconds: SpeakSeconds | None = Field(
        None, description="Length of the speech. Default: that of the envelope, else estimated from the text."
    )
    audio_envelope: AudioEnvelope | None = Field(None, description="Gestures then follow the voice.")
    emotion: Emotion = Field("neutral", description="Style of the body, and VRM expression; never the mouth.")
    still: list[LifeSign] = Field([], max_length=len(LIFE_SIGNS), description="Signs of life to leave out.")

    @model_validator(mode="before")
    @classmethod
    def _name_text(cls, values: Any) -> Any:
        """Text and prompt are one thing."""
        if not isinstance(values, dict):
            return values
        said = values.get("text") or values.get("prompt")
        return values if said is None else {**values, "text": said, "prompt": said}

    def with_defaults(self, defaults: MotionOptions) -> GenerateRequest:
        """A face that talks is alive, unless the request says else."""
        return super().with_defaults(defaults.model_copy(update={"expressions": True}))

    @field_validator("duration_sec", "timeline", "loop", "target_joints")
    @classmethod
    def _refuse(cls, value: object) -> object:
        if value:
            raise ValueError("is not for speech; leave it out (the length is in seconds)")
        return value


class PhraseOut(BaseModel):
    """Words said in one go."""

    text: str
    start: float = Field(description="Seconds from the start of the speech.")
    end: float


class BeatOut(BaseModel):
    """A stress that the body moves with."""

    t: float = Field(description="Seconds from the start of the speech.")
    strength: float


class ActOut(BaseModel):
    """A bodily action in the text."""

    action: str | None
    start: float
    end: float


class SpeechOut(BaseModel):
    """How a text is said and shown."""

    seconds: float = Field(description="Length of the speech; the motion rests at most 0.4 s later.")
    estimated: bool = Field(description="Whether that was estimated from the text.")
    emotion: Emotion
    phrases: list[PhraseOut]
    beats: list[BeatOut]
    acts: list[ActOut]


class SpeakMetadata(MotionMetadata):
    """How the motion was made, and what is said when."""

    speech: SpeechOut


class SpeakResponse(MotionResponse):
    """Talking motion; ``metadata.speech`` holds phrases and beats."""

    metadata: SpeakMetadata
