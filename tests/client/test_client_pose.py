"""The end of a motion, from which another goes on."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from motion_service.client_pose import POSE_FPS, POSE_S, Tail, new_pose
from motion_service.stream_schemas import MAX_MESSAGE, MAX_TOKEN

BONES = [f"bone{number}" for number in range(25)]


def frames(first: int, count: int, fps: float, bones: list[str] = BONES) -> tuple[dict[str, Any], list[Any]]:
    """Keys that say which frame they are."""
    times = [(first + i) / fps for i in range(count)]
    tracks = {
        bone: [{"t": t, "x": -0.12345, "y": 0.12345, "z": -0.12345, "w": t * fps} for t in times] for bone in bones
    }
    return tracks, [{"t": t, "x": 0.0, "y": 0.0, "z": t * fps} for t in times]


@given(st.integers(1, 400), st.sampled_from([5.0, 20.0, 24.0, 25.0, 30.0, 48.0, 60.0, 120.0]))
def test_it_is_the_last_second_and_fits_a_message(count: int, fps: float) -> None:
    tracks, root = frames(1000, count, fps)
    pose = new_pose({**tracks, "leftIndexProximal": root}, root, fps, "vrm1", 0.95)
    kept = [round(key["z"]) for key in pose["root_position"]]
    assert kept[-1] == 1000 + count - 1, "always with the last frame"
    steps = {later - earlier for earlier, later in zip(kept, kept[1:], strict=False)}
    assert len(steps) <= 1 and steps <= {round(fps / pose["fps"])}
    assert pose["fps"] <= POSE_FPS and pose["root_position"][0]["t"] == 0.0
    assert kept[-1] - kept[0] <= POSE_S * fps and (count < POSE_S * fps or kept[-1] - kept[0] >= fps * 0.9)
    assert set(pose["tracks"]) == set(BONES), "fingers move by themselves"
    assert len(json.dumps(pose, separators=(",", ":"))) + MAX_TOKEN // 2 < MAX_MESSAGE


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 8), st.booleans()), max_size=30))
def test_it_is_what_a_player_would_show(chunks: list[tuple[int, int, bool]]) -> None:
    """Whatever is replaced on the way, all that is told are the newest frames, in a row."""
    tail, shown = Tail(), []
    for count, back, is_announced in chunks:
        first = max(0, (tail.end or 0) - back)
        if is_announced:
            tail.cut(first)
        tail.add(first, *frames(first, count, 20.0), 20.0)
        shown = [*shown[:first], *range(first, first + count)]
        assert tail.end == len(shown)
    pose = tail.pose("vrm1", None)
    if not shown:
        assert pose is None
    else:
        kept = [round(key["z"]) for key in pose["root_position"]]
        assert kept == shown[-len(kept) :]
        assert all(len(keys) == len(kept) for keys in pose["tracks"].values())


def test_a_change_that_replaces_all_leaves_nothing_to_go_on_from() -> None:
    tail = Tail()
    assert tail.pose("vrm1", None) is None
    tail.add(0, *frames(0, 4, 20.0), 20.0)
    tail.cut(0)
    assert tail.pose("vrm1", None) is None and tail.end == 0
