"""The wire of ``POST /v1/avatars``: what is known of an avatar that was uploaded."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class RestPoseOut(BaseModel):
    """How far the file's own rest pose is from a normalised T-pose."""

    largest_rotation_deg: float = Field(description="Largest turn of a bone from the world axes at rest.")
    arms_off_deg: float = Field(description="Largest angle between an arm bone and the X axis.")
    t_pose: bool = Field(description="Whether the arms are within 20 degrees of a T-pose.")


class AvatarOut(BaseModel):
    """What is known of an avatar."""

    id: str = Field(description="Put it into `avatar` of a request for motion.")
    name: str = Field(description="Its title, as its author wrote it.")
    vrm_version: Literal["0.x", "1.0"]
    bones: list[str] = Field(description="VRM 1.0 names of the humanoid bones that it has.")
    missing_optional: list[str] = Field(description="VRM 1.0 bones that it lacks; they are folded into their children.")
    hips_height: float = Field(description="Rest height of the hips in metres.")
    rest_pose: RestPoseOut
    expressions: list[str] = Field(description="VRM 1.0 names of its presets, then its author's own.")
    look_at: bool = Field(description="Whether its eyes can move.")
    warnings: list[str] = Field(description="What will look wrong, with the remedy.")
