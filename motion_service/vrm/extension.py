"""What a VRM extension says of an avatar, in the words of VRM 1.0: title, bones on nodes, names of expressions.

Files of many makers are read: what is said of a bone is only taken down here, and judged where the skeleton is known.
Specifications: https://github.com/vrm-c/vrm-specification, directories VRMC_vrm-1.0 and 0.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from motion_service.errors import UnsupportedFormat
from motion_service.vrm.glb import FIELD
from motion_service.vrm.gltf import Gltf, Part

MAX_HUMAN_BONES: Final = 200

PRESETS_0X: Final[Mapping[str, str]] = {
    "neutral": "neutral",
    "joy": "happy",
    "angry": "angry",
    "sorrow": "sad",
    "fun": "relaxed",
    "a": "aa",
    "i": "ih",
    "u": "ou",
    "e": "ee",
    "o": "oh",
    "blink": "blink",
    "blink_l": "blinkLeft",
    "blink_r": "blinkRight",
    "lookup": "lookUp",
    "lookdown": "lookDown",
    "lookleft": "lookLeft",
    "lookright": "lookRight",
}
"""VRM 0.x blendShapePresetName -> VRM 1.0 expression preset."""
PRESETS: Final = frozenset([*PRESETS_0X.values(), "surprised"])
"""The expressions that VRM 1.0 names
(https://github.com/vrm-c/vrm-specification/blob/master/specification/VRMC_vrm-1.0/expressions.md)."""
OWN_NAMES_0X: Final = frozenset(["surprised", "happy", "angry", "sad", "relaxed", "blink"])
"""Groups of VRM 0.x that are no preset but bear, in any case, the name of one of VRM 1.0 are taken for it. VRM 0.x has
no surprised, so authors make one (https://github.com/vrm-c/UniVRM/pull/1652)."""
_THUMBS_0X: Final = {"ThumbProximal": "ThumbMetacarpal", "ThumbIntermediate": "ThumbProximal"}
"""VRM 0.x counts the three bones of a thumb like those of a finger; 1.0 begins with the metacarpal."""


class _HumanBone(Part):
    bone: str
    node: object = None


def _refuse_many(bones: object) -> object:
    """pydantic would check every entry of a dictionary before it counts them."""
    if isinstance(bones, dict) and len(bones) > MAX_HUMAN_BONES:
        raise ValueError(f"at most {MAX_HUMAN_BONES} bones")
    return bones


class _Humanoid1(Part):
    humanBones: Annotated[dict[str, object], BeforeValidator(_refuse_many)]


class _Humanoid0(Part):
    humanBones: Annotated[list[_HumanBone], Field(max_length=MAX_HUMAN_BONES, fail_fast=True)]


class _Expressions(Part):
    preset: dict[str, object] | None = None
    custom: dict[str, object] | None = None


class _BlendShapeGroup(Part):
    name: str | None = None
    presetName: str | None = None


class _BlendShapeMaster(Part):
    blendShapeGroups: Annotated[list[_BlendShapeGroup], Field(fail_fast=True)] | None = None


class _Meta(Part):
    name: object = None  # VRM 1.0
    title: object = None  # VRM 0.x


class _Vrm1(Part):
    specVersion: str
    meta: _Meta | None = None
    humanoid: _Humanoid1
    expressions: _Expressions | None = None


class _Vrm0(Part):
    meta: _Meta | None = None
    humanoid: _Humanoid0
    blendShapeMaster: _BlendShapeMaster | None = None


class _Extensions(Part):
    VRMC_vrm: _Vrm1 | None = None
    VRM: _Vrm0 | None = None


class Document(Gltf):
    """A glTF document with what we read of its VRM extension."""

    extensions: _Extensions | None = None


@dataclass(frozen=True, slots=True)
class Extension:
    """What both versions say, in the words of VRM 1.0."""

    version: Literal["0.x", "1.0"]
    title: str
    bones: list[tuple[str, object]]
    """(bone, node), as the file has them; the node may be anything, None where nothing is said."""
    expressions: list[str]
    """Presets, then the author's own."""
    own_names: Mapping[str, str]
    """{preset: what the file itself calls it}, where that is not a preset of its VRM version."""


def read_extension(document: Document) -> Extension:
    """The VRM extension of the document; 1.0 wins when a file has both.

    Raises :class:`UnsupportedFormat` when it has none, or one of an unknown version.
    """
    extensions = document.extensions or _Extensions()
    if extensions.VRMC_vrm is not None:
        return _read_vrm1(extensions.VRMC_vrm)
    if extensions.VRM is not None:
        return _read_vrm0(extensions.VRM)
    raise UnsupportedFormat("the file is glTF without a VRM extension: export it as VRM 1.0 or 0.x", field=FIELD)


def _read_vrm1(vrm: _Vrm1) -> Extension:
    if not vrm.specVersion.startswith("1.0"):
        raise UnsupportedFormat("the file has an unknown VRM version: export it as VRM 1.0 or 0.x", field=FIELD)
    entries = vrm.humanoid.humanBones.items()
    bones = [(bone, entry.get("node") if isinstance(entry, dict) else None) for bone, entry in entries]
    if any(bone.endswith("ThumbIntermediate") for bone, _ in bones):  # the beta of VRM 1.0 had the thumbs of 0.x
        bones = [(_rename_thumb(bone), node) for bone, node in bones]
    named = vrm.expressions or _Expressions()
    presets = [name for name in named.preset or {} if name in PRESETS]
    title = _text((vrm.meta or _Meta()).name)
    return Extension("1.0", title, bones, [*presets, *(named.custom or {})], {})


def _read_vrm0(vrm: _Vrm0) -> Extension:
    bones = [(_rename_thumb(entry.bone), entry.node) for entry in vrm.humanoid.humanBones]
    presets: list[str] = []
    custom: list[str] = []
    for group in (vrm.blendShapeMaster or _BlendShapeMaster()).blendShapeGroups or []:
        preset = PRESETS_0X.get((group.presetName or "").lower())
        if preset is not None:
            presets.append(preset)
        else:
            custom.append(group.name or "")
    own_names: dict[str, str] = {}
    for name in custom:
        if (preset := name.lower()) in OWN_NAMES_0X - {*presets}:
            own_names.setdefault(preset, name)
    title = _text((vrm.meta or _Meta()).title)
    return Extension("0.x", title, bones, [*presets, *own_names, *custom], own_names)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _rename_thumb(bone: str) -> str:
    for old, new in _THUMBS_0X.items():
        if bone.endswith(old):
            return bone.removesuffix(old) + new
    return bone
