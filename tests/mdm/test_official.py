"""Official directories -> networks: every kind, which file, what wins, what is refused; the six real key lists."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from motion_service.errors import CheckpointMismatch, CheckpointMissing
from motion_service.mdm import convert, official
from motion_service.mdm.arguments import arguments_from_json
from motion_service.mdm.convert import convert_checkpoint, pickle_to_safetensors
from motion_service.mdm.network import Denoiser
from motion_service.mdm.official import OfficialCheckpoint, find_weights, iteration_of, load_official
from motion_service.mdm.official_keys import is_parameter, state_dict_to_spec_facts
from motion_service.mdm.published import ARGS, FILES, Kind
from motion_service.text_bert import BertEncoder
from motion_service.text_clip import ClipEncoder
from tests.mdm.official_files import new_spec, new_state_dict, write_checkpoint_files

KEY_LISTS = Path(__file__).resolve().parents[2] / ".." / "shared" / "spec" / "state-dict-keys"
KINDS: list[Kind] = list(ARGS)


pytestmark = pytest.mark.usefixtures("own_trust")
run_child = convert._run_child


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert without a child process, which takes seconds to import torch."""
    monkeypatch.setattr(convert, "_run_child", pickle_to_safetensors)


def load_changed(directory: Path, kind: Kind, change: Callable[[dict[str, Tensor]], object], **args: Any) -> None:
    """Load a checkpoint whose tensors were changed before they were saved."""
    file = write_checkpoint_files(directory, kind, trust=False, use_ema=False, **args)
    tensors = torch.load(file, weights_only=True)
    change(tensors)
    torch.save(tensors, file)
    convert_checkpoint(file, trust=True)
    load_official(directory)


# --- what is loaded ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_loaded_as_it_was_saved(tmp_path: Path, kind: Kind) -> None:
    file = write_checkpoint_files(tmp_path / "some-model", kind)
    loaded = load_official(tmp_path / "some-model")
    assert (loaded.name, loaded.directory) == ("some-model", file.parent)
    assert loaded.network.spec == loaded.config.network == new_spec(kind)
    assert not loaded.network.training
    expected = new_state_dict(new_spec(kind))
    for name, tensor in loaded.network.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, expected[name]), name
    assert loaded.iteration == int(FILES[kind][5:14])
    assert loaded.part == ("model_avg" if ARGS[kind].get("use_ema") else "flat")
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("kind", "text", "steps", "guidance", "windows", "target"),
    [
        ("mdm", "distilbert-base-uncased", 50, 2.5, (0, 0), None),
        ("mdm-encoder", "clip-vit-b-32", 50, 2.5, (0, 0), None),
        ("dip", "distilbert-base-uncased", 10, 7.5, (20, 40), None),
        ("dip-target", "distilbert-base-uncased", 10, 7.5, (20, 40), "single"),
    ],
)
def test_facts_of_every_kind(
    tmp_path: Path, kind: Kind, text: str, steps: int, guidance: float, windows: tuple[int, int], target: str | None
) -> None:
    write_checkpoint_files(tmp_path, kind)
    loaded = load_official(tmp_path)
    config, network = loaded.config, loaded.config.network
    assert (config.text_encoder, config.steps, config.schedule, config.guidance) == (text, steps, "cosine", guidance)
    assert (config.features, config.fps, network.features, network.heads) == ("humanml3d", 20.0, 263, 4)
    assert (network.context_frames, network.predict_frames, network.target_encoder) == (*windows, target)
    assert (network.mask_frames, network.text_policy, loaded.sigma_small) == (True, "add", True)
    assert loaded.cond_mask_prob == 0.1


def test_names_of_encoders_are_those_of_the_encoders() -> None:
    assert official.TEXT_ENCODERS["clip"] == (ClipEncoder.name, 512)
    assert official.TEXT_ENCODERS["bert"] == (BertEncoder.name, 768)


@pytest.fixture
def encoder_model(tmp_path: Path) -> OfficialCheckpoint:
    write_checkpoint_files(tmp_path / "clip-model", "mdm-encoder")
    return load_official(tmp_path / "clip-model")


@pytest.mark.parametrize(("name", "width"), [("clip-vit-b-32", 640), ("distilbert-base-uncased", 768)])
def test_another_text_encoder_is_refused(encoder_model: OfficialCheckpoint, name: str, width: int) -> None:
    encoder_model.check_encoder("clip-vit-b-32", 512)
    with pytest.raises(CheckpointMismatch) as caught:
        encoder_model.check_encoder(name, width)
    assert f"clip-vit-b-32 of width 512, the encoder is {name} of width {width}" in caught.value.detail


def test_settings_come_from_the_arguments(tmp_path: Path) -> None:
    changes = {"sigma_small": False, "cond_mask_prob": 0, "noise_schedule": "linear", "mask_frames": False}
    write_checkpoint_files(tmp_path, "mdm", **changes, emb_policy="concat", emb_trans_dec=True)
    loaded = load_official(tmp_path)
    assert (loaded.sigma_small, loaded.cond_mask_prob, loaded.config.guidance) == (False, 0, 1.0)
    assert (loaded.config.schedule, loaded.config.network.mask_frames) == ("linear", False)
    assert (loaded.config.network.text_policy, loaded.config.network.emb_trans_dec) == ("concat", True)
    assert "emb_policy" in loaded.warnings[0]


def test_the_encoder_architecture_has_no_policy(tmp_path: Path) -> None:
    write_checkpoint_files(tmp_path, "mdm-encoder", emb_policy="concat", emb_trans_dec=True)
    network = load_official(tmp_path).config.network
    assert (network.text_policy, network.emb_trans_dec) == ("add", False)


@pytest.mark.parametrize("kind", KINDS)
def test_what_tensors_tell_needs_no_arguments(tmp_path: Path, kind: Kind) -> None:
    """Old files lack the fields; the defaults would be of another network."""
    told = ("arch", "text_encoder_type", "layers", "latent_dim", "multi_target_cond", "multi_encoder_type")
    write_checkpoint_files(tmp_path, kind, **dict.fromkeys([*told, "lambda_target_loc"]))
    assert load_official(tmp_path).config.network == new_spec(kind)


def test_the_averaged_weights_are_chosen_by_the_arguments(tmp_path: Path) -> None:
    write_checkpoint_files(tmp_path, "mdm")
    averaged = load_official(tmp_path)
    args = json.loads((tmp_path / "args.json").read_text())
    (tmp_path / "args.json").write_text(json.dumps(args | {"use_ema": False}))
    plain = load_official(tmp_path)
    assert (averaged.part, plain.part) == ("model_avg", "model")
    other = new_state_dict(new_spec("mdm"), seed=1)["embed_text.weight"]
    assert torch.equal(plain.network.state_dict()["embed_text.weight"], other)


def test_averages_that_are_not_there_are_a_warning(tmp_path: Path) -> None:
    write_checkpoint_files(tmp_path, "mdm", use_ema=False)
    args = json.loads((tmp_path / "args.json").read_text())
    (tmp_path / "args.json").write_text(json.dumps(args | {"use_ema": True}))
    loaded = load_official(tmp_path)
    assert loaded.part == "flat"
    assert "use_ema is true" in loaded.warnings[0]


# --- which file -------------------------------------------------------------------------------------------------------


def test_the_newest_iteration_is_taken(tmp_path: Path) -> None:
    for name in ("model000000900.pt", "model000001000.pt", "model.pt", "opt000002000.pt", "model9.txt"):
        (tmp_path / name).touch()
    assert find_weights(tmp_path).name == "model000001000.pt"
    assert find_weights(tmp_path / "model.pt").name == "model.pt"
    assert [iteration_of(Path(name)) for name in ("model000600343.pt", "model.pt", "model2_step7.pt")] == [
        600343,
        None,
        7,
    ]


def test_a_file_or_its_conversion_serves_like_the_directory(tmp_path: Path) -> None:
    file = write_checkpoint_files(tmp_path / "dip", "dip")
    whole = load_official(tmp_path / "dip")
    for path in (file, file.with_suffix(".safetensors")):
        assert load_official(path).sha256 == whole.sha256 != ""
    file.unlink()
    gone = load_official(tmp_path / "dip")
    assert (gone.sha256, gone.iteration) == (whole.sha256, 600343)


def test_a_cache_directory_serves_read_only_mounts(tmp_path: Path) -> None:
    file = write_checkpoint_files(tmp_path / "ro", "mdm-encoder")
    kept = convert_checkpoint(file).target
    cache = tmp_path / "cache"
    cache.mkdir()
    kept.rename(cache / f"{convert.file_sha256(file)}.safetensors")
    assert load_official(tmp_path / "ro", cache_dir=cache).name == "ro"
    assert not kept.exists()


@pytest.mark.parametrize("path", ["nowhere", "empty"])
def test_absent_weights_are_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointMissing, match=path) as caught:
        load_official(tmp_path / path)
    assert str(tmp_path) not in caught.value.detail


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(CheckpointMismatch, match="neither a directory"):
        load_official(tmp_path / "model.onnx")


def test_arguments_are_needed(tmp_path: Path) -> None:
    write_checkpoint_files(tmp_path, "mdm")
    (tmp_path / "args.json").unlink()
    with pytest.raises(CheckpointMissing, match=r"args\.json"):
        load_official(tmp_path)


def test_a_pickle_that_nobody_vouched_for_names_the_command(tmp_path: Path) -> None:
    write_checkpoint_files(tmp_path / "mdm", "mdm", trust=False)
    with pytest.raises(CheckpointMismatch, match="motion convert --trust") as caught:
        load_official(tmp_path / "mdm")
    assert "mdm/model000200000.pt" in caught.value.detail
    assert "\n" not in caught.value.detail and str(tmp_path) not in caught.value.detail


# --- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "args", "message"),
    [
        ("mdm", {"latent_dim": 512}, "args.json says latent_dim 512, the weights have 16"),
        ("mdm", {"layers": 8}, "args.json says layers 8, the weights have 2"),
        ("mdm", {"arch": "trans_enc"}, "args.json says arch 'trans_enc', the weights have 'trans_dec'"),
        ("mdm", {"text_encoder_type": "clip"}, "args.json says text_encoder_type 'clip', the weights have 'bert'"),
        ("mdm-encoder", {"text_encoder_type": "bert"}, "says text_encoder_type 'bert', the weights have 'clip'"),
        ("dip", {"multi_target_cond": True}, "args.json says multi_target_cond True, the weights have False"),
        ("dip", {"lambda_target_loc": 0.5}, "args.json says multi_target_cond True, the weights have False"),
        ("dip-target", {"multi_encoder_type": "split"}, "says multi_encoder_type 'split', the weights have 'single'"),
        ("dip-target", {"target_enc_layers": 2}, "says target_enc_layers 2, the weights have 1"),
    ],
)
def test_contradictions_show_both_values(tmp_path: Path, kind: Kind, args: dict[str, Any], message: str) -> None:
    write_checkpoint_files(tmp_path, kind, **args)
    with pytest.raises(CheckpointMismatch) as caught:
        load_official(tmp_path)
    assert message in caught.value.detail


@pytest.mark.parametrize(
    ("features", "message"),
    [(251, "251 features: it was trained on KIT-ML; HumanML3D with 263"), (135, "135 features;")],
)
def test_other_data_are_refused(tmp_path: Path, features: int, message: str) -> None:
    def shrink(tensors: dict[str, Tensor]) -> None:
        tensors["input_process.poseEmbedding.weight"] = torch.zeros(16, features)

    with pytest.raises(CheckpointMismatch) as caught:
        load_changed(tmp_path, "mdm", shrink)
    assert message in caught.value.detail


def test_an_unknown_text_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatch, match="texts of width 640"):
        load_changed(tmp_path, "mdm", lambda tensors: tensors.update({"embed_text.weight": torch.zeros(16, 640)}))


def test_weights_of_something_else_are_one_line(tmp_path: Path) -> None:
    def replace(tensors: dict[str, Tensor]) -> None:
        tensors.clear()
        tensors["conv1.weight"] = torch.zeros(3)

    with pytest.raises(CheckpointMismatch, match="not a checkpoint of MDM") as caught:
        load_changed(tmp_path, "mdm", replace)
    assert "\n" not in caught.value.detail


def test_the_report_names_keys_and_shapes(tmp_path: Path) -> None:
    def break_(tensors: dict[str, Tensor]) -> None:
        del tensors["seqTransDecoder.layers.1.norm3.weight"]
        tensors["extra.weight"] = torch.zeros(3)
        tensors["embed_text.bias"] = torch.zeros(9)

    with pytest.raises(CheckpointMismatch) as caught:
        load_changed(tmp_path, "mdm", break_)
    lines = caught.value.detail.splitlines()
    assert "missing seqTransDecoder.layers.1.norm3.weight (16,)" in lines[1]
    assert "unexpected extra.weight (3,)" in lines[2]
    assert "embed_text.bias has shape (9,), the network needs (16,)" in lines[3]


def test_a_long_report_ends(tmp_path: Path) -> None:
    def strip(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if "layers.1." in name and "linear1.weight" not in name]:
            del tensors[name]

    with pytest.raises(CheckpointMismatch, match="and 5 more") as caught:
        load_changed(tmp_path, "mdm", strip)
    assert len(caught.value.detail.splitlines()) == 14


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatch, match=r"not finite: embed_text\.bias"):
        load_changed(tmp_path, "mdm", lambda tensors: tensors["embed_text.bias"].fill_(torch.nan))


def test_a_width_without_four_heads_is_refused() -> None:
    shapes = {"input_process.poseEmbedding.weight": (18, 263), "embed_text.weight": (18, 768)}
    facts = state_dict_to_spec_facts({**shapes, "seqTransDecoder.layers.0.linear1.weight": (8, 18)})
    with pytest.raises(CheckpointMismatch, match="multiple of heads 4"):
        official._new_config("odd", arguments_from_json({}), facts)


# --- the real sizes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(KEY_LISTS.glob("*.json")) or [None], ids=lambda path: path and path.stem[16:])
def test_every_key_of_the_real_checkpoints_is_taken(path: Path | None) -> None:
    if path is None:
        pytest.skip("../shared/spec/state-dict-keys is not here")
    listed = json.loads(path.read_text())
    shapes = {name: tuple(entry["shape"]) for name, entry in listed["keys"].items() if is_parameter(name)}
    tensors = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    config = official._new_config(
        path.stem, arguments_from_json(listed["constructor"]), state_dict_to_spec_facts(shapes)
    )
    network = official._new_network(path.stem, config.network, tensors)
    assert sum(map(math.prod, shapes.values())) == listed["n_trainable_parameters"]
    assert sum(parameter.numel() for parameter in network.parameters()) == listed["n_trainable_parameters"]
    assert len(listed["keys"]) - len(shapes) == 2  # the tables of sinusoids
    assert config.network.text_width == {"bert": 768, "clip": 512}[listed["constructor"]["text_encoder_type"]]


def test_a_full_size_directory_is_converted_in_a_child_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "_run_child", run_child)
    write_checkpoint_files(tmp_path, "mdm-encoder", full=True)
    loaded = load_official(tmp_path)
    assert sum(parameter.numel() for parameter in loaded.network.parameters()) == 17_880_327
    assert isinstance(loaded.network, Denoiser)
