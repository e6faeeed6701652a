"""Every environment variable that the service reads, once: its name, default, unit and meaning.

The defaults are those outside a container; the image sets the others. Only ``main``, ``cli`` and ``cluster`` build from
this; everything else takes values. Nothing else in the package reads the environment.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import AliasChoices, AnyHttpUrl, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_PREFIX: Final = "MOTION_DEFAULT_"
"""``MOTION_DEFAULT_<OPTION>`` is the server's default of a request option (the table is in ``schemas.py``)."""

_READ_BY_OTHERS: Final = frozenset(
    f"MOTION_{name}"
    for name in (
        *("PROVIDER", "ENDPOINT", "TIMEOUT_SEC", "OUTPUT_FORMAT", "OUTPUT_DIR", "DATA_MOUNT_PATH"),
        *("API_KEY", "URL", "UID", "GID"),
    )
)
"""Read out of the same ``.env`` by the assistant's backend, or by our command line and compose file; the service does
not want them."""

_BUCKET: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/(?!\.\.?(/|$))[A-Za-z0-9!_.*'()-]+)*/?")
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, and safe characters in keys."""

_MOUNT_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")


class Config(BaseSettings):
    """The environment of one process. An empty variable counts as unset."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, case_sensitive=True, extra="ignore")

    host: str = Field("127.0.0.1", validation_alias="MOTION_HOST")
    """Address to bind. Anything but loopback needs ``MOTION_API_KEYS`` or ``MOTION_ALLOW_NO_KEY=on``."""

    port: int = Field(7100, validation_alias="MOTION_PORT", ge=0, le=65535)
    """TCP port to bind; 0 = any free one."""

    data_root: Path = Field(Path("data"), validation_alias="DATA_ROOT")
    """Directory that is published under ``DATA_MOUNT_PATH``. In a container: ``/data``."""

    output_dir: Path | str = Field(
        default_factory=lambda known: known.get("data_root", Path("data")) / "animations", validation_alias="OUTPUT_DIR"
    )
    """Where artifacts are written: a directory under ``DATA_ROOT``, or a bucket, ``s3://bucket/prefix``, which needs
    the extra ``s3`` and the usual ``AWS_`` variables. Several services may share either. Default: ``animations`` under
    ``DATA_ROOT``."""

    output_ttl: float = Field(0.0, validation_alias="MOTION_OUTPUT_TTL", ge=0)
    """Seconds that a job's files are kept after the last was written; 0 = for ever. Not for a bucket, whose lifecycle
    rules do this; nor is the next."""

    output_max_bytes: int = Field(0, validation_alias="MOTION_OUTPUT_MAX_BYTES", ge=0)
    """Most bytes of all jobs' files together; beyond it the oldest jobs go. 0 = no limit. Files of the last minute and
    files being sent stay in any case."""

    mount_path: str = Field("/data", validation_alias="DATA_MOUNT_PATH")
    """URL path under which ``DATA_ROOT`` is published: URL = this + path relative to ``DATA_ROOT``."""

    checkpoint_dir: Path = Field(
        Path("models/motion"), validation_alias=AliasChoices("CHECKPOINT_DIR", "MOTION_MODEL_DIR")
    )
    """Where downloaded checkpoints lie. ``MOTION_MODEL_DIR`` is the same thing; ``CHECKPOINT_DIR`` wins when both are
    set. In a container: ``/checkpoint_dir``. The shipped ``mini`` is never looked for here, as a mount may hide it."""

    conversion_dir: Path | None = Field(None, validation_alias="MOTION_CONVERSION_DIR")
    """Where converted ``.pt`` files are kept when ``CHECKPOINT_DIR`` cannot be written, and the hashes of trusted ones,
    ``trusted-checkpoints.json``. Default: beside the ``.pt``, and ``~/.config/motion-service``. It must not hold the
    ``.pt`` files themselves."""

    data_dir: Path = Field(Path("data/motion"), validation_alias="MOTION_DATA_DIR")
    """Where data that models need lies: ``dataset/HumanML3D/{Mean,Std}.npy``, ``body_models/smpl``. In a container:
    ``/data/motion``."""

    mdm_checkpoint: Path = Field(
        Path("mdm/humanml_trans_dec_512_bert-50steps"), validation_alias="MOTION_MDM_DEFAULT_CKPT"
    )
    """Checkpoint of ``mdm``: a directory, a ``.pt`` or our ``.safetensors``; relative ones under ``CHECKPOINT_DIR``."""

    mdm_encoder_checkpoint: Path = Field(
        Path("mdm/humanml-encoder-512-50steps"), validation_alias="MOTION_MDM_ENCODER_CKPT"
    )
    """Checkpoint of ``mdm-encoder``, likewise."""

    dip_checkpoint: Path = Field(Path("dip/target_10steps_context20_predict40"), validation_alias="MOTION_MDM_DIP_CKPT")
    """Checkpoint of ``dip``, likewise."""

    text_dir: Path = Field(Path("text"), validation_alias="MOTION_TEXT_DIR")
    """Where the text encoders of the official models lie, ``clip`` and ``distilbert``; under ``CHECKPOINT_DIR``."""

    mini: Literal["default", "free"] = Field("default", validation_alias="MOTION_MINI")
    """Weights of ``mini``. free = those trained without any non-commercial data: a smaller vocabulary, no evaluator."""

    mdm_fps: float = Field(20.0, validation_alias="MOTION_MDM_DEFAULT_FPS", ge=1, le=120)
    """Frames a second of answers on /v1/motion/generate when the request does not say; the models make 20."""

    dip_fps: float = Field(20.0, validation_alias="MOTION_MDM_DIP_FPS", ge=1, le=120)
    """The same on /v1/motion/generate/dip."""

    mdm_engine: Literal["own", "upstream"] = Field("own", validation_alias="MOTION_MDM_ENGINE")
    """own = this engine; upstream = the official program's own code from ``MOTION_MDM_REPO_DIR``, in this process."""

    mdm_repo_dir: Path | None = Field(None, validation_alias="MOTION_MDM_REPO_DIR")
    """A checkout of the official repository; only for ``MOTION_MDM_ENGINE=upstream`` and ``motion verify``."""

    postprocess: Literal["fast", "smplify"] = Field("fast", validation_alias="MOTION_MDM_POSTPROCESS")
    """Default of the request option ``postprocess``; ``MOTION_DEFAULT_POSTPROCESS`` wins when both are set."""

    smpl_dir: Path | None = Field(None, validation_alias="SMPL_MODEL_DIR")
    """Where the SMPL model files lie. Default: ``body_models/smpl`` under ``MOTION_DATA_DIR``."""

    default_avatar: Path | None = Field(None, validation_alias="MOTION_DEFAULT_AVATAR")
    """A ``.vrm`` file: answers are for this avatar unless the request names another."""

    avatar_dir: Path | None = Field(None, validation_alias="MOTION_AVATAR_DIR")
    """Where facts of uploaded avatars are kept. Default: ``avatars`` under ``DATA_ROOT``, or in the bucket of
    ``OUTPUT_DIR``."""

    motion_length: float = Field(5.0, validation_alias="MOTION_MDM_DEFAULT_MOTION_LENGTH", ge=0.1, le=120)
    """Length of a clip in seconds when neither the request nor the words of the prompt ask for one."""

    placeholder: bool = Field(True, validation_alias="MOTION_PLACEHOLDER")
    """on: a failure while generating is answered with a labelled placeholder. off: with a problem document."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", validation_alias="MOTION_DEVICE")
    """Where the models live. auto = the first GPU when there is one, else the CPU."""

    cpu_threads: int = Field(0, validation_alias="MOTION_CPU_THREADS", ge=0, le=1024)
    """Threads of one tensor operation on the CPU; 0 = torch's own choice, 2 where the models are on a GPU."""

    engine_dtype: Literal["auto", "float16", "float32"] = Field("auto", validation_alias="MOTION_ENGINE_DTYPE")
    """Of networks and text encoders on a GPU; states and samplers are float32 always. auto = float16. float32 agrees
    with the official program within rounding and is several times slower. A CPU always takes float32."""

    engine_graphs: bool = Field(True, validation_alias="MOTION_ENGINE_GRAPHS")
    """on: steps on a GPU are recorded as CUDA graphs at the start. off: the host launches every kernel."""

    gpu_memory_mb: int = Field(2048, validation_alias="MOTION_GPU_MEMORY_MB", ge=512, le=1_000_000)
    """Most memory of the GPU that all models, text encoders and graphs take together, in MiB, besides the few hundred
    that CUDA itself takes. Less than the default makes batches narrower."""

    answer_processes: int | None = Field(None, validation_alias="MOTION_ANSWER_PROCESSES", ge=0, le=64)
    """Processes that make answers of motion, some 300 MB each; 0 = threads of the service's own. Unset: beside a GPU on
    a machine of at least 8 cores, half as many as cores and at most 8; else 0."""

    queue_size: int | None = Field(None, validation_alias="MOTION_QUEUE_SIZE", ge=1, le=100_000)
    """Requests being worked on or waiting at one time; one more is answered 429 with Retry-After. Default: 32 on a CPU,
    256 on a GPU."""

    grace_sec: float = Field(30.0, validation_alias="MOTION_GRACE_SEC", gt=0, le=3600)
    """Seconds that requests under way have to end after SIGTERM. A second signal ends the process at once."""

    durable_files: bool = Field(False, validation_alias="MOTION_DURABLE_FILES")
    """on: files are safe from a power cut before an answer names them. off: a moment later, which nobody waits for."""

    otlp_endpoint: AnyHttpUrl | None = Field(None, validation_alias="MOTION_OTLP_ENDPOINT")
    """Where traces are sent, such as ``http://127.0.0.1:4318/v1/traces``; needs the extra ``otel``. Unset = nowhere."""

    warm_up: bool = Field(True, validation_alias="MOTION_WARM_UP")
    """on: every model makes one short clip before the service says it is ready."""

    prompt_llm_url: AnyHttpUrl | None = Field(None, validation_alias="MOTION_PROMPT_LLM_URL")
    """An OpenAI-compatible endpoint that reads prompts, such as ``http://127.0.0.1:8080/v1``; unset = rules only."""

    prompt_llm_model: str = Field("default", validation_alias="MOTION_PROMPT_LLM_MODEL")
    """Model name sent to that endpoint; llama.cpp answers with the one it has loaded, whatever the name."""

    prompt_llm_timeout_ms: int = Field(800, validation_alias="MOTION_PROMPT_LLM_TIMEOUT_MS", ge=1, le=60_000)
    """Longest wait for its answer in milliseconds; then the rules' reading of the prompt is used."""

    prompt_llm_api_key: SecretStr = Field(SecretStr(""), validation_alias="MOTION_PROMPT_LLM_API_KEY")
    """Sent to it as a bearer token; empty = none."""

    api_keys: SecretStr = Field(SecretStr(""), validation_alias="MOTION_API_KEYS")
    """Accepted API keys, separated by commas; empty = no key is asked for."""

    rate_limit: float = Field(0.0, validation_alias="MOTION_RATE_LIMIT", ge=0)
    """Requests of one key a minute that make something, short bursts aside; 0 = as many as it likes."""

    allow_no_key: bool = Field(False, validation_alias="MOTION_ALLOW_NO_KEY")
    """on: bind any address without keys, because something in front of the service guards it."""

    stream_max: int = Field(64, validation_alias="MOTION_STREAM_MAX", ge=0, le=100_000)
    """Live streams open at one time; one more is answered 429. Two CPU cores make about eight in real time."""

    stream_secret: SecretStr = Field(SecretStr(""), validation_alias="MOTION_STREAM_SECRET")
    """Signs resume tokens and, with the API keys, URLs of files: replicas with the same one resume each other's streams
    and give out each other's files. Default: from the API keys alone."""

    allowed_origins: str = Field("", validation_alias="MOTION_ALLOWED_ORIGINS")
    """Origins of pages that may use the service (CORS, and WebSockets), separated by commas, such as
    ``https://app.example``; ``*`` = all. Pages of the service's own host may always, and what is no browser."""

    speech_fit: bool = Field(False, validation_alias="MOTION_SPEECH_FIT")
    """on: a prompt that asks for no action of the body, such as an assistant's reply, gets talking motion that lasts as
    long as it takes to say, as of /v1/motion/speak, instead of a clip of the length asked for."""

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", validation_alias="MOTION_LOG_LEVEL")
    """Least severity that is logged. Logs are one JSON object a line on standard error; prompts are never in them."""

    @field_validator("output_dir", mode="before")
    @classmethod
    def _check_output_url(cls, place: Any) -> Path | str:
        if "://" not in str(place):
            return Path(place)
        if not _BUCKET.fullmatch(str(place)):
            raise ValueError("OUTPUT_DIR must be a directory, or a bucket such as s3://bucket/prefix")
        return str(place).rstrip("/")

    @field_validator("mount_path")
    @classmethod
    def _check_mount_path(cls, path: str) -> str:
        trimmed = path.rstrip("/")
        if not trimmed or not _MOUNT_PATH.fullmatch(trimmed) or ".." in trimmed.split("/"):
            raise ValueError('DATA_MOUNT_PATH must be a plain URL path such as "/data"')
        return trimmed

    @model_validator(mode="after")
    def _check_output_dir(self) -> Self:
        if isinstance(self.output_dir, str):
            if self.output_ttl or self.output_max_bytes:
                raise ValueError("MOTION_OUTPUT_TTL, MOTION_OUTPUT_MAX_BYTES: give the bucket a lifecycle rule instead")
            return self
        if not self.output_dir.absolute().resolve().is_relative_to(self.data_root.absolute().resolve()):
            raise ValueError(
                f"OUTPUT_DIR ({self.output_dir}) must lie under DATA_ROOT ({self.data_root}), because files are "
                "fetched at DATA_MOUNT_PATH + their path relative to DATA_ROOT: set both, or only DATA_ROOT"
            )
        return self

    @property
    def origins(self) -> tuple[str, ...]:
        """The allowed origins, one by one."""
        return tuple(origin for part in self.allowed_origins.split(",") if (origin := part.strip().rstrip("/")))

    @property
    def keys(self) -> tuple[str, ...]:
        """The API keys, one by one."""
        return tuple(key for part in self.api_keys.get_secret_value().split(",") if (key := part.strip()))


_RAY: Final = {
    "RAY_AUTH_MODE": "token",  # whoever talks to the cluster has to know its token
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_max_direct_call_object_size": str(4 * 2**20),  # answers go straight to the proxy, not by way of a store
}


def set_ray_defaults() -> None:
    """Variables that Ray reads, for this process and those that it starts, unless they are set. Before Ray is
    imported."""
    for name, value in _RAY.items():
        os.environ.setdefault(name, value)


def unknown_variables() -> list[str]:
    """Names of set ``MOTION_*`` variables that this version does not read: a typing error, or meant for another one."""
    known = {str(field.validation_alias) for field in Config.model_fields.values()} | {"MOTION_MODEL_DIR"}
    known |= _READ_BY_OTHERS
    return sorted(
        name
        for name in os.environ
        if name.startswith("MOTION_") and not name.startswith(DEFAULT_PREFIX) and name not in known
    )


def default_options_from_environment() -> dict[str, str]:
    """``{option: text}`` for every ``MOTION_DEFAULT_<OPTION>`` that is set and not empty; the avatar is a file."""
    return {
        name.removeprefix(DEFAULT_PREFIX).lower(): text
        for name, text in sorted(os.environ.items())
        if name.startswith(DEFAULT_PREFIX) and name != "MOTION_DEFAULT_AVATAR" and text
    }
