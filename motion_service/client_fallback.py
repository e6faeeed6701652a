"""The motion that a client makes itself when the service gives none: a calm figure that breathes. Pure Python."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from motion_service.schemas import MAX_SECONDS, MIN_SECONDS

BREATH_S: Final = 3.5
"""About how long a breath takes; a clip holds a whole number of them, so that it can be repeated."""
HIPS_HEIGHT: Final = 0.95
"""Of the canonical body at rest, m."""
_POSE: Final[Mapping[str, tuple[int, float, float]]] = {
    "spine": (0, 0.0, 0.5),
    "chest": (0, 0.0, 1.1),
    "neck": (0, 2.0, -0.7),
    "leftShoulder": (2, 0.0, 0.8),
    "rightShoulder": (2, 0.0, -0.8),
    "leftUpperArm": (2, -72.0, 1.2),
    "rightUpperArm": (2, 72.0, -1.2),
}
"""Bone -> axis (0 = X, 2 = Z), angle at rest and how far it swings with the breath, degrees; VRM 1.0 axes."""


def breathing_sway(prompt: str, options: Mapping[str, Any], reason: str) -> bytes:
    """An answer as the service would send it, marked ``fallback_used``; of ``options`` it takes what it understands."""
    prompt = str(prompt).encode("utf-8", "replace").decode()
    seconds = _number(options.get("duration_sec"), 3.0, MIN_SECONDS, MAX_SECONDS)
    fps = _number(options.get("fps"), 24.0, 1.0, 120.0)
    is_vrm0 = options.get("target") == "vrm0"
    count = max(1, round(seconds * fps))
    turns = max(1, round(count / fps / BREATH_S)) * 2 * math.pi / count
    tracks = {
        bone: [_key(i / fps, axis, rest + swing * math.sin(i * turns), is_vrm0) for i in range(count)]
        for bone, (axis, rest, swing) in {"hips": (0, 0.0, 0.0), **_POSE}.items()
    }
    root = [{"t": round(i / fps, 5), "x": 0.0, "y": HIPS_HEIGHT, "z": 0.0} for i in range(count)]
    length = count / fps
    plan = {"prompt": prompt, "language": "other", "action": None, "confidence": 0.0, "seconds": None, "times": None}
    metadata: dict[str, Any] = {
        "generator": "fallback",
        "checkpoint": None,
        "seed": 0,
        "guidance_param": 0.0,
        "steps": 0,
        "fps": fps,
        "motion_length": length,
        "prompt": prompt,
        "url": "",
        "artifacts": {},
        "target": "vrm0" if is_vrm0 else "vrm1",
        "rest_hips_height": HIPS_HEIGHT,
        "contacts": [[1.0] * 4] * count,
        "prompt_plan": {**plan, "segments": [], "captions": []},
        "timings_ms": {},
        "quality": {},
        "warnings": [f"made by the client itself: {reason}"],
        "licence": None,
        "fallback_reason": reason,
    }
    head = {"job_id": "", "format": "vrm-json", "output_path": "", "url": "", "duration_sec": length, "fps": fps}
    motion = {**head, "tracks": tracks, "root_position": root, "rootPosition": root, "fallback_used": True}
    return json.dumps({**motion, "metadata": metadata}).encode()


def _key(seconds: float, axis: int, degrees: float, is_vrm0: bool) -> dict[str, float]:
    """A turn about one axis; VRM 0.x has X and Z the other way round."""
    half = math.radians(-degrees if is_vrm0 else degrees) / 2
    name = "xyz"[axis]
    return {"t": round(seconds, 5), "x": 0.0, "y": 0.0, "z": 0.0, "w": math.cos(half)} | {name: math.sin(half)}


def _number(value: Any, default: float, least: float, most: float) -> float:
    """A number between two others, or the default for what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return default
    return min(max(number, least), most) if math.isfinite(number) else default
