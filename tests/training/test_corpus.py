"""The corpus: calibration against the sources themselves, labels against kinematics, storage.

Small committed excerpts (CMU, Mesh2Motion) always run; the whole archives run when ``../shared/data`` is there and the
corpus file was prepared from it.
"""

import math
import tarfile
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from motion_service.errors import BadRequest
from motion_service.features.vrm_native import OFFSETS, canonical_fk, heading
from motion_service.geometry.kinematics import local_to_world_quat
from motion_service.geometry.rotation import (
    normalize,
    quat_angle,
    quat_conjugate,
    quat_multiply,
    quat_rotate,
    quat_to_rotvec,
    quat_twist,
    quat_twist_angle,
)
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_PARENTS, canonical_index
from motion_service.training import sources
from motion_service.training.bvh import read_bvh
from motion_service.training.calibration import (
    AIMED,
    HINGE,
    Calibration,
    SourceMotion,
    calibrate_from_t_pose,
    source_to_bones,
)
from motion_service.training.corpus import CorpusClip, mirror_clip, read_corpus, write_corpus
from motion_service.training.gltf import read_gltf_animations

DATA = Path(__file__).resolve().parents[1] / "data"
CORPUS = Path(__file__).resolve().parents[2] / "data/motion/training/corpus.xz"
ARCHIVE = Path(__file__).resolve().parents[3] / "shared/data/bandai-namco-motiondataset.tar.xz"
CMU_ARCHIVE = ARCHIVE.with_name("cmu-mocap-subset.tar.xz")

X, Y = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])


def frames(motion: SourceMotion, part: slice) -> SourceMotion:
    return sources._frames(motion, part)


@pytest.fixture(scope="module")
def cmu() -> SourceMotion:
    return sources.cmu_motion(read_bvh(DATA / "cmu_07_01_excerpt.bvh"))


@pytest.fixture(scope="module")
def rig() -> dict[str, SourceMotion]:
    animations = read_gltf_animations(DATA / "mesh2motion_excerpt.glb", 30.0)
    return {animation.name: sources.rig_motion(animation) for animation in animations}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> list[CorpusClip]:
    """The prepared corpus; else, made now, all of dataset-1, every fourth clip of dataset-2, and CMU."""
    if CORPUS.is_file():
        return read_corpus(CORPUS)
    if not ARCHIVE.is_file():
        pytest.skip("neither a prepared corpus file nor the archives of ../shared/data are here")
    folder = tmp_path_factory.mktemp("sources")
    for archive in (ARCHIVE, CMU_ARCHIVE):
        with tarfile.open(archive) as tar:
            for number, member in enumerate(tar):
                if member.name.endswith(".bvh") and ("dataset-2_" not in member.name or number % 8 < 2):
                    tar.extract(member, folder, filter="data")
    clips = list(sources.read_bandai(list(folder.rglob("dataset-*.bvh"))))
    return clips + list(sources.read_cmu(list(folder.rglob("[0-9][0-9]_[0-9][0-9].bvh"))))


def assert_directions_kept(motion: SourceMotion, calibration: Calibration) -> None:
    """Every bone of the VRM clip points where the source's bone points, seen from its own rest direction."""
    local, _ = source_to_bones(motion, calibration)
    world = local_to_world_quat(local, CANONICAL_PARENTS)
    for bone, rest in calibration.rest_direction.items():
        child = AIMED.get(bone) or bone.replace("Shoulder", "UpperArm").replace("Foot", "Toes")
        seen = normalize(motion.positions[child] - motion.positions[bone])
        ours = quat_rotate(world[:, canonical_index(bone)], rest.expand_as(seen))
        degrees = torch.rad2deg(torch.acos((seen * ours).sum(-1).clamp(-1, 1)))
        assert float(degrees.max()) < 1.0, bone


def assert_t_pose_is_identity(t_pose: SourceMotion) -> None:
    """Identity for every bone; limbs that the source's own T-pose bends keep that bend, without any twist."""
    calibration = calibrate_from_t_pose(t_pose)
    local, _ = source_to_bones(t_pose, calibration)
    world = local_to_world_quat(local, CANONICAL_PARENTS)[0]
    for index, bone in enumerate(CANONICAL_BONES):
        if bone not in t_pose.rotations:
            continue
        turned = math.degrees(float(quat_angle(world[index], torch.tensor([0.0, 0.0, 0.0, 1.0]))))
        if bone in HINGE:
            seen = normalize(t_pose.positions[AIMED[bone]] - t_pose.positions[bone])[0]
            rest = X * (1 if bone.startswith("left") else -1) if "Arm" in bone else -Y
            bend = torch.rad2deg(torch.acos((seen * rest).sum().clamp(-1, 1)))
            assert turned < float(bend) + 0.6, bone
        else:
            assert turned < 0.1, bone


def test_cmu_t_pose_is_identity(cmu):
    assert_t_pose_is_identity(frames(cmu, slice(0, 1)))


def test_mesh2motion_t_pose_is_identity(rig):
    assert_t_pose_is_identity(frames(rig["T-Pose"], slice(0, 1)))


def test_cmu_bone_directions(cmu):
    assert_directions_kept(frames(cmu, slice(3, None)), calibrate_from_t_pose(frames(cmu, slice(0, 1))))


def test_mesh2motion_bone_directions(rig):
    calibration = calibrate_from_t_pose(frames(rig["T-Pose"], slice(0, 1)))
    motion = rig["Idle_Talking_Loop"]
    # the chest turns as its upper half but is drawn from the lower: its direction to the neck is not the rig's
    rest = {bone: d for bone, d in calibration.rest_direction.items() if bone not in ("spine", "chest", "hips")}
    assert_directions_kept(motion, Calibration(calibration.to_source, rest))


def test_cmu_walk_goes_where_it_faces(cmu, tmp_path):
    [clip] = list(sources.read_cmu([_as_trial(tmp_path, "07_01")]))
    assert clip.action == "walk" and clip.is_free
    assert float(clip.hips[-1, 2]) > 1.0 and abs(float(clip.hips[-1, 0])) < 0.4
    assert abs(float(heading(clip.rotations[-1, 0]))) < 0.5
    positions, _ = canonical_fk(clip.rotations, clip.hips)
    assert -0.02 < float(positions[:, canonical_index("leftToes"), 1].min()) < 0.06


def _as_trial(folder: Path, trial: str) -> Path:
    path = folder / f"{trial}.bvh"
    path.write_bytes((DATA / "cmu_07_01_excerpt.bvh").read_bytes())
    return path


def test_mirroring_twice_is_the_clip(cmu, tmp_path):
    [clip] = list(sources.read_cmu([_as_trial(tmp_path, "07_01")]))
    twice = mirror_clip(mirror_clip(clip))
    assert twice.name == clip.name
    assert_close(twice.rotations, clip.rotations)
    assert_close(twice.hips, clip.hips)


def test_a_mirror_clip_is_the_reflection_of_every_joint(cmu, tmp_path):
    [clip] = list(sources.read_cmu([_as_trial(tmp_path, "07_01")]))
    positions, _ = canonical_fk(clip.rotations, clip.hips)
    mirrored = mirror_clip(clip)
    reflected, _ = canonical_fk(mirrored.rotations, mirrored.hips)
    left, right = canonical_index("leftHand"), canonical_index("rightHand")
    assert_close(reflected[:, right], positions[:, left] * torch.tensor([-1.0, 1.0, 1.0]), atol=1e-5, rtol=0)


def test_storage_keeps_motion_and_labels(cmu, tmp_path):
    [clip] = list(sources.read_cmu([_as_trial(tmp_path, "07_01")]))
    write_corpus(tmp_path / "corpus.xz", [clip, mirror_clip(clip)])
    back, mirrored = read_corpus(tmp_path / "corpus.xz")
    assert (back.name, back.source, back.action, back.style) == (clip.name, "cmu", "walk", "normal")
    assert mirrored.name == "cmu_07_01#mirror"
    assert math.degrees(float(quat_angle(back.rotations, clip.rotations).max())) < 0.01
    assert float((back.hips - clip.hips).abs().max()) < 0.001


def test_missing_and_damaged_corpus_files_say_so(tmp_path):
    with pytest.raises(BadRequest, match="prepare_dataset"):
        read_corpus(tmp_path / "none.xz")
    (tmp_path / "bad.xz").write_bytes(b"not xz")
    with pytest.raises(BadRequest, match="damaged"):
        read_corpus(tmp_path / "bad.xz")


# --- the whole corpus -------------------------------------------------------------------------------------------------


def of(corpus: list[CorpusClip], *actions: str) -> list[CorpusClip]:
    return [clip for clip in corpus if clip.action in actions and clip.source == "bandai"]


def wrist_travel(clip: CorpusClip, side: str) -> float:
    positions, _ = canonical_fk(clip.rotations, clip.hips)
    wrist = positions[:, canonical_index(f"{side}Hand")] - positions[:, canonical_index("chest")]
    return float(torch.linalg.vector_norm(wrist[1:] - wrist[:-1], dim=-1).sum())


@pytest.mark.parametrize("side, other", [("left", "right"), ("right", "left")])
def test_the_named_wrist_moves_most(corpus, side, other):
    clips = of(corpus, f"raise-{side}", f"wave-{side}")
    assert len(clips) > 100
    assert all(wrist_travel(clip, side) > wrist_travel(clip, other) for clip in clips)


@pytest.mark.parametrize("action, sign", [("walk-left", 1), ("walk-right", -1)])
def test_side_walks_go_to_their_side(corpus, action, sign):
    assert all(float(clip.hips[-1, 0]) * sign > 0 for clip in of(corpus, action))


def test_turns_turn_their_way(corpus):
    for action, sign in (("turn-left", 1), ("turn-right", -1)):
        for clip in of(corpus, action):
            yaw = heading(clip.rotations[:, 0])
            steps = torch.remainder(yaw[1:] - yaw[:-1] + torch.pi, 2 * torch.pi) - torch.pi
            assert float(steps.sum()) * sign > 0.3, clip.name


def test_facing_agrees_with_travel(corpus):
    for clip in of(corpus, "walk", "run"):
        step = (clip.hips[1:] - clip.hips[:-1]) * torch.tensor([1.0, 0.0, 1.0])
        yaw = heading(clip.rotations[1:, 0])
        facing = torch.stack([torch.sin(yaw), torch.zeros_like(yaw), torch.cos(yaw)], dim=-1)
        assert float((step * facing).sum() / torch.linalg.vector_norm(step, dim=-1).sum()) > 0.85, clip.name


@pytest.mark.parametrize("bone, axis", [("LowerArm", "X"), ("LowerLeg", "Y")])
def test_elbows_and_knees_are_hinges(corpus, bone, axis):
    along = X if axis == "X" else Y
    for side in ("left", "right"):
        local = torch.cat([clip.rotations[:, canonical_index(side + bone)] for clip in corpus])
        swing = quat_to_rotvec(quat_multiply(local, quat_conjugate(quat_twist(local, along))))
        hinge = torch.tensor(HINGE[side + bone])
        assert float((swing @ hinge).abs().sum() / torch.linalg.vector_norm(swing, dim=-1).sum()) > 0.9
        assert float((swing @ hinge).quantile(0.02) if len(swing) < 1_000_000 else 0) > -0.35  # bends the right way


def test_forearms_pronate_and_heads_turn(corpus):
    for side in ("left", "right"):
        wave = torch.cat([clip.rotations[:, canonical_index(f"{side}LowerArm")] for clip in of(corpus, f"wave-{side}")])
        assert math.degrees(float(quat_twist_angle(wave, X).std())) > 5
    head = torch.cat([clip.rotations[:, canonical_index("head")] for clip in corpus])
    assert math.degrees(float(quat_twist_angle(head, Y).std())) > 3


@pytest.mark.skipif(not ARCHIVE.is_file(), reason="the archives of ../shared/data are not here")
def test_bandai_bone_directions_on_real_files(tmp_path):
    wanted = ("raise-up-right-hand_normal_00", "wave-left-hand_normal_00", "walk-turn-left_normal_00", "run_normal_00")
    files: list[Path] = []
    with tarfile.open(ARCHIVE) as tar:  # read as a stream: stop as soon as enough files came by
        for member in tar:
            if member.name.endswith(".bvh") and "dataset-2_" in member.name and any(w in member.name for w in wanted):
                tar.extract(member, tmp_path, filter="data")
                files.append(tmp_path / member.name)
                if len(files) >= 16:
                    break
    motions = []
    for path in sorted(files):
        _, content, style, _ = path.stem.split("_")
        action = sources.labels()["bandai_namco"]["actions"][content]
        motions.append((sources.bandai_motion(read_bvh(path)), action, style))
    calibration = sources.calibrate_bandai(motions)
    for motion, _, _ in motions:
        assert_directions_kept(motion, calibration)
    for bone, child in AIMED.items():  # these lie exactly on the canonical body's own axes
        assert_close(calibration.rest_direction[bone], normalize(OFFSETS[canonical_index(child)]), atol=1e-3, rtol=0)
