"""The wire: what requests may hold and what answers look like. The one source of ``openapi.json``.

:class:`MotionOptions` is the table of every request option: type, bounds, default, meaning. The server's own default of
an option is ``MOTION_DEFAULT_<OPTION>``; what a request says wins over it. ``null`` means "not said".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from motion_service.errors import BadRequest
from motion_service.wording import CONTROL, check_text

Provider = Literal["auto", "mdm", "mdm-encoder", "dip", "mini", "placeholder"]
AnswerFormat = Literal["vrm-json", "msgpack", "vrma", "bvh", "npy", "mp4"]
ArtifactFormat = Literal["vrm-json", "npy", "mp4", "vrma", "bvh", "smpl", "hik"]
TargetJoint = Literal["pelvis", "left_foot", "right_foot", "left_wrist", "right_wrist", "head", "traj", "heading"]
ArtifactState = Literal["pending", "ready", "failed"]

MAX_PROMPT: Final = 2000  # characters
MIN_SECONDS: Final = 0.1
MAX_SECONDS: Final = 120.0
MAX_SEED: Final = 2**63 - 1
MAX_DRAWN_SEED: Final = 2**53 - 1  # what we draw ourselves: a browser keeps it exact


class TimelinePart(BaseModel):
    """One prompt of a timeline and how long it lasts."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    prompt: str = Field("", max_length=MAX_PROMPT, description="Empty: the figure idles.")
    sec: float = Field(ge=MIN_SECONDS, le=MAX_SECONDS, allow_inf_nan=False)

    @field_validator("prompt")
    @classmethod
    def _check_prompt(cls, prompt: str) -> str:
        return check_text(prompt)


class MotionOptions(BaseModel):
    """Every request option. All are optional; an option left out takes the server's default."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, json_schema_extra={"additionalProperties": True})

    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description="Same seed, same prompt: same motion. Default: random."
    )
    steps: int | None = Field(
        None, ge=1, le=200, description="Denoising steps; cut to what the model was trained with."
    )
    guidance: float | None = Field(
        None, ge=0, le=100, allow_inf_nan=False, description="How strongly the text pulls. Default: the model's own."
    )
    format: AnswerFormat = Field(
        "vrm-json",
        description="What the body of the answer carries; wins over Accept. The JSON file is always written.",
    )
    duration_sec: float | None = Field(
        None,
        ge=MIN_SECONDS,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description='Length in seconds. Default: what the prompt says ("for 3 seconds"), else 5.',
    )
    fps: float | None = Field(
        None, ge=1, le=120, allow_inf_nan=False, description="Frames a second of the answer. Default: the model's 20."
    )
    provider: Provider = Field("auto", description="Which engine; auto takes the best one that is loaded.")
    interpolate: bool = Field(True, description="false: keep the model's 20 frames a second whatever fps says.")
    repetitions: int = Field(
        1, ge=1, le=8, description="Clips to make; seeds count up. tracks is the first, clips has all."
    )
    deadline_ms: int = Field(
        25_000, ge=1, le=600_000, description="Longest wait for the model in milliseconds; then a placeholder answers."
    )
    artifacts: list[ArtifactFormat] = Field(
        ["npy", "mp4"], max_length=8, description="Files beside the JSON; mp4 is finished after the answer."
    )
    target: Literal["vrm1", "vrm0"] = Field(
        "vrm1", description="Axes of the tracks: VRM 1.0, or those that a VRM 0.x avatar needs. An avatar has its own."
    )
    avatar: str | None = Field(
        None,
        pattern="^([0-9a-f]{32}|none)$",
        description='Id from POST /v1/avatars: tracks for exactly that avatar. "none": for no avatar in particular.',
    )
    fold: bool = Field(
        True, description="Without an avatar: fold bones that many avatars lack (upperChest) into their children."
    )
    compat: Literal["none", "boost-safe"] = Field(
        "none", description="boost-safe: for viewers that multiply tracks under 8 degrees; such tracks come negated."
    )
    root: Literal["free", "bounded", "in_place"] = Field(
        "free", description="bounded: the hips stay within 0.3 m and come back; in_place: no travel at all."
    )
    settle: bool = Field(False, description="The last frames ease to the neutral pose at the origin.")
    foot_lock: bool = Field(True, description="Standing feet are held in place on the avatar's own legs.")
    expressions: bool = Field(
        False, description="Blinking, gaze, relaxed fingers, the emotion in the words; never the mouth."
    )
    postprocess: Literal["fast", "smplify"] = Field(
        "fast", description="smplify: fit SMPL to the joints too (needs the SMPL model files); adds smpl and hik files."
    )
    sampler: Literal["ddpm", "ddim"] = Field(
        "ddpm", description="How steps are taken: ancestral, or DDIM (deterministic, better with few steps)."
    )
    noise: Literal["request", "official"] = Field(
        "request", description="official: the random draws of the official CPU program for this seed (mdm, dip)."
    )
    target_joints: dict[TargetJoint, list[float]] | None = Field(
        None, description="dip with target: places [x, y, z] in metres, heading [radians], at the end of each window."
    )
    continue_from: str | dict[str, Any] | None = Field(
        None,
        description="A job id, or a clip as answers hold it: the motion goes on from its last frame (dip, mini).",
    )
    timeline: list[TimelinePart] | None = Field(
        None, min_length=1, max_length=32, description="Prompts one after the other instead of one (dip, mini)."
    )
    best_of: int = Field(
        1, ge=1, le=8, description="Seeds to draw for each clip; the motion that fits the text best is the answer."
    )
    loop: bool = Field(False, description="The end goes over into the start without a seam (mini, mdm).")

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values

    @field_validator("artifacts")
    @classmethod
    def _sort_artifacts(cls, formats: list[ArtifactFormat]) -> list[ArtifactFormat]:
        return sorted(set(formats))

    @field_validator("target_joints")
    @classmethod
    def _check_target_joints(
        cls, joints: dict[TargetJoint, list[float]] | None
    ) -> dict[TargetJoint, list[float]] | None:
        for name, place in (joints or {}).items():
            count = 1 if name == "heading" else 3
            if len(place) != count or not all(math.isfinite(number) and abs(number) <= 100 for number in place):
                raise ValueError(f"{name} needs {count} finite number{'s' * (count > 1)} of at most 100")
        return joints


OPTIONS: Final = tuple(MotionOptions.model_fields)
"""Names of all request options, in the order of the table."""


class GenerateRequest(MotionOptions):
    """A prompt and the options said with it. Unknown fields are ignored and named in ``metadata.warnings``."""

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT, examples=["a person waves with the right hand"])

    @model_validator(mode="before")
    @classmethod
    def _name_timeline(cls, values: Any) -> Any:
        """A timeline needs no prompt of its own; what it says first is its name."""
        if not isinstance(values, dict) or values.get("prompt") is not None or "timeline" not in values:
            return values
        parts = values["timeline"] if isinstance(values["timeline"], list) else []
        said = [part["prompt"] for part in parts if isinstance(part, dict) and isinstance(part.get("prompt"), str)]
        return {**values, "prompt": next((text for text in said if text.strip()), "idle")}

    @field_validator("prompt")
    @classmethod
    def _check_prompt(cls, prompt: str) -> str:
        check_text(prompt)
        if not prompt.strip():
            raise ValueError("must hold at least one character that is not white space")
        return prompt

    def unknown_fields(self) -> list[str]:
        """Names of the fields that no option has, made safe to print, the first ten."""
        names = sorted(self.model_extra or {})[:10]
        return [CONTROL.sub("?", name[:40]).encode("utf-8", "replace").decode() for name in names]

    def with_defaults(self, defaults: MotionOptions) -> GenerateRequest:
        """The same request with every option it does not say taken from the server's defaults."""
        unsaid = {name: getattr(defaults, name) for name in OPTIONS if name not in self.model_fields_set}
        return self.model_copy(update=unsaid)


def text_to_options(texts: Mapping[str, str]) -> MotionOptions:
    """The server's defaults from ``{option: text}``, as the environment holds them.

    Numbers, true and false as in JSON, on and off, lists with commas. Raises :class:`BadRequest` naming the variable.
    """
    unknown = sorted(set(texts) - set(OPTIONS))
    if unknown:
        raise BadRequest(f"MOTION_DEFAULT_{unknown[0].upper()}: there is no such request option", field=unknown[0])
    try:
        return MotionOptions.model_validate({name: _text_to_value(name, text) for name, text in texts.items()})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = str(first["loc"][0])
        raise BadRequest(f"MOTION_DEFAULT_{name.upper()}: {first['msg']}", field=name) from None


def _text_to_value(name: str, text: str) -> Any:
    if name == "artifacts":
        return [part.strip() for part in text.split(",") if part.strip() not in ("", "none")]
    if text in ("on", "off"):
        return text == "on"
    try:
        return json.loads(text)
    except ValueError:
        return text


# --- answers --------------------------------------------------------------------------------------------------------


class QuatKey(BaseModel):
    """Local rotation of a bone at a time: t in seconds, xyzw, unit, identity = T-pose."""

    t: float
    x: float
    y: float
    z: float
    w: float


class RootKey(BaseModel):
    """World position of the hips at a time: t in seconds, metres, +Y up, +Z forward."""

    t: float
    x: float
    y: float
    z: float


class WeightKey(BaseModel):
    """Weight of an expression at a time: t in seconds, 0 to 1."""

    t: float
    weight: float


class GazeKey(BaseModel):
    """Where the eyes look at a time, against the head, radians: yaw about +Y (to the left), pitch about +X (down)."""

    t: float
    yaw: float
    pitch: float


class ArtifactStatus(BaseModel):
    """One file of a job."""

    state: ArtifactState
    url: str
    error: str | None = None


class SegmentOut(BaseModel):
    """One action found in the prompt."""

    text: str = Field(description="The words of this action.")
    action: str | None = Field(
        description='walk, wave, bow, ...; "none": no bodily action is asked for; null: unknown.'
    )
    detail: list[str] = Field(description="Of left, right, both, forward, backward, turn what the words say.")
    seconds: float | None = Field(description="Length, only when asked for in words.")
    caption: str = Field(description="The same as an English caption; empty when the language is not understood.")


class PromptPlanOut(BaseModel):
    """What was understood of the prompt."""

    prompt: str
    language: Literal["en", "ja", "other"]
    action: str | None = Field(description="Action of the first segment.")
    confidence: float = Field(description="0 to 1: how sure the reader is of the first action.")
    seconds: float | None = Field(description="Length of the whole, only when asked for in words.")
    times: int | None = Field(description='How often the only action is asked for ("twice").')
    segments: list[SegmentOut] = Field(description="The actions in order of time.")
    captions: list[str] = Field(description="What models that read only English captions are given.")


class MotionMetadata(BaseModel):
    """How the motion was made. Further keys may appear."""

    model_config = ConfigDict(extra="allow")

    generator: str = Field(description="mdm, mdm-encoder, dip, mini or placeholder: what really made it.")
    checkpoint: str | None
    seed: int
    guidance_param: float
    steps: int
    fps: float
    motion_length: float = Field(description="Seconds of motion.")
    prompt: str
    url: str
    artifacts: dict[str, ArtifactStatus]
    target: str
    rest_hips_height: float = Field(description="Metres; scale root positions by the avatar's height over this.")
    contacts: list[list[float]] = Field(description="Per frame: left ankle, left toe, right ankle, right toe, 0 to 1.")
    prompt_plan: PromptPlanOut
    timings_ms: dict[str, float]
    quality: dict[str, float | None] = Field(
        description="Of the clip as made, before avatar, fps, root and settle; foot lock: of what is delivered. "
        "text_match: -1 to 1, null without the evaluator."
    )
    quality_range: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="Where the same measures lie for recorded motion, 5th to 95th percentile."
    )
    warnings: list[str]
    licence: str | None = Field(description="Licence of the weights.")
    fallback_reason: str | None = Field(None, description="Why a placeholder answered; only there when one did.")


class ClipOut(BaseModel):
    """One of several repetitions."""

    seed: int
    tracks: dict[str, list[QuatKey]]
    root_position: list[RootKey]
    rootPosition: list[RootKey]


class MotionResponse(BaseModel):
    """A motion. ``fps`` and ``duration_sec`` describe the data in this answer, never the request."""

    model_config = ConfigDict(extra="allow")

    job_id: str
    format: str
    output_path: str
    url: str
    duration_sec: float
    fps: float
    tracks: dict[str, list[QuatKey]] = Field(description="By VRM humanoid bone name in exact case.")
    root_position: list[RootKey]
    rootPosition: list[RootKey] = Field(description="The same list under its older name.")
    clips: list[ClipOut] | None = Field(
        None, description="All repetitions; only there when more than one was asked for."
    )
    expressions: dict[str, list[WeightKey]] | None = Field(
        None, description="By VRM 1.0 expression name; only there when asked for."
    )
    look_at: list[GazeKey] | None = Field(None, description="Gaze; only there when asked for.")
    fallback_used: bool
    metadata: MotionMetadata


class FieldProblem(BaseModel):
    """One field that is not valid."""

    field: str
    detail: str


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    field: str | None = None
    errors: list[FieldProblem] | None = None
