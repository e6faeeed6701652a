"""args.json of every age -> settings; what is wrong in it is said in one line."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motion_service.errors import CheckpointMismatch, CheckpointMissing
from motion_service.mdm.arguments import OfficialArguments, arguments_from_json, read_arguments
from tests.mdm.official_files import new_args


def written(directory: Path, content: str | bytes) -> Path:
    (directory / "args.json").write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


def test_an_empty_file_has_the_defaults_of_the_official_parser() -> None:
    found = arguments_from_json({})
    assert found == OfficialArguments()
    assert (found.arch, found.text_encoder_type, found.layers, found.latent_dim) == ("trans_enc", "clip", 8, 512)
    assert (found.diffusion_steps, found.noise_schedule, found.sigma_small) == (1000, "cosine", True)
    assert (found.cond_mask_prob, found.emb_policy, found.multi_encoder_type) == (0.1, "add", "single")
    assert not (found.mask_frames or found.use_ema or found.emb_trans_dec or found.multi_target_cond)


def test_fields_are_read_and_others_ignored() -> None:
    found = arguments_from_json({**new_args("dip"), "keyframe_cond_prob": [1], "unknown": "x", "sigma_small": False})
    assert (found.arch, found.context_len, found.pred_len, found.diffusion_steps) == ("trans_dec", 20, 40, 10)
    assert found.use_ema and found.mask_frames and not found.sigma_small
    assert "context_len" in found.stated and "unknown" not in found.stated
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"context_len": 20}, {"context_len": 20, "pred_len": 20}),
        ({"context_len": 20, "pred_len": 40}, {"context_len": 20, "pred_len": 40}),
        ({"lambda_target_loc": 1.0}, {"lambda_target_loc": 1.0, "multi_target_cond": True}),
        ({"lambda_target_loc": 1, "multi_target_cond": False}, {"lambda_target_loc": 1.0, "multi_target_cond": True}),
        ({"cond_mask_prob": 0}, {"cond_mask_prob": 0.0}),
        ({"cond_mode": "text"}, {"unconstrained": False}),
        ({"use_ema": None}, {}),
    ],
)
def test_compatibility_rules(values: dict[str, Any], expected: dict[str, Any]) -> None:
    assert replace(arguments_from_json(values), stated=frozenset()) == replace(OfficialArguments(), **expected)


def test_what_the_public_program_never_reads_is_said() -> None:
    found = arguments_from_json({"emb_policy": "concat", "emb_before_mask": True})
    assert found.emb_policy == "concat"
    assert [line.split()[1] for line in found.warnings] == ["emb_policy", "emb_before_mask"]
    assert arguments_from_json({"emb_policy": "add", "emb_before_mask": False}).warnings == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_ema": "False"}, "use_ema: must be true or false, got 'False'"),
        ({"mask_frames": 1}, "mask_frames: must be true or false, got 1"),
        ({"layers": "8"}, "layers: must be a whole number, got '8'"),
        ({"layers": True}, "layers: must be a whole number, got True"),
        ({"layers": 0}, "layers: must be 1 to 1000, got 0"),
        ({"cond_mask_prob": "0.1"}, "cond_mask_prob: must be a number"),
        ({"cond_mask_prob": 1.5}, "cond_mask_prob: must be 0 to 1"),
        ({"cond_mask_prob": float("nan")}, "cond_mask_prob: must be 0 to 1"),
        ({"diffusion_steps": 0}, "diffusion_steps: must be 1 to 5000"),
        ({"context_len": -1}, "context_len"),
        ({"arch": 3}, "arch: must be a text"),
        ({"arch": "gru"}, "arch: 'gru' is not supported, only trans_enc or trans_dec"),
        ({"dataset": "kit"}, "dataset: 'kit' is not supported, only humanml"),
        ({"noise_schedule": "sqrt"}, "noise_schedule"),
        ({"text_encoder_type": "t5"}, "text_encoder_type"),
        ({"emb_policy": "sum"}, "emb_policy"),
        ({"unconstrained": True}, "unconstrained"),
        ({"cond_mode": "no_cond"}, "unconstrained"),
    ],
)
def test_wrong_values_name_the_field(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointMismatch) as caught:
        read_arguments(written(tmp_path, json.dumps(values)))
    assert message in caught.value.detail
    assert "args.json" in caught.value.detail and "\n" not in caught.value.detail


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        ("  <!DOCTYPE html>", "web page"),
        ("[1]", "must be an object, got list"),
        (b" " * ((1 << 20) + 1), "more than 1 MiB"),
    ],
)
def test_other_files_are_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(CheckpointMismatch, match=message) as caught:
        read_arguments(written(tmp_path, content))
    assert "\n" not in caught.value.detail and str(tmp_path) not in caught.value.detail


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    assert read_arguments(written(tmp_path, b'\xef\xbb\xbf{"layers": 3}')).layers == 3


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match=r"no args\.json"):
        read_arguments(tmp_path)


def test_the_option_file_need_not_be_there_but_must_fit(tmp_path: Path) -> None:
    written(tmp_path, "{}")
    option = tmp_path / "opt.txt"
    option.write_text("------------ Options -------------\ndataset_name: t2m\njoints_num: 22\nlr: 0.1\n--- End ---\n")
    assert read_arguments(tmp_path).warnings == ()
    option.write_bytes(b"\xff\xfe")
    assert "opt.txt is ignored" in read_arguments(tmp_path).warnings[0]
    for line in ("dataset_name: kit", "joints_num: 21", "dim_pose : 251"):
        option.write_text(line + "\n")
        with pytest.raises(CheckpointMismatch, match=r"opt\.txt: .* HumanML3D needs"):
            read_arguments(tmp_path)


def test_files_that_cannot_be_opened_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    written(tmp_path, "{}")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointMismatch, match=r"args\.json cannot be read \(Permission denied\)") as caught:
        read_arguments(tmp_path)
    assert str(tmp_path) not in caught.value.detail
