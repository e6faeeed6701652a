"""Where answers are made: in threads of this process, or in processes of their own that leave it to the models.

Making one takes some milliseconds of pure computing. A CPU that runs the models itself gains nothing from more
processes; beside a GPU that makes hundreds of clips a second, one interpreter is not enough.
"""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final, Protocol

import numpy as np
import torch

from motion_service.answer import Answer, LateFile, Take, take_to_answer
from motion_service.clips import VrmClip
from motion_service.export.vrm_json import encode_response
from motion_service.features.humanml3d import clip_to_features
from motion_service.mdm_adapter.decode import decode
from motion_service.processes import Handler, Processes
from motion_service.quality import measure_pose, pose_clip
from motion_service.quality_clip import ClipMatcher
from motion_service.quality_match import MATCH_WIDTH
from motion_service.source import SourceClip
from motion_service.store import ArtifactStore
from motion_service.telemetry import configure_logging, job_id, request_id
from motion_service.vrm.fitting import Fitting, fit_clip
from motion_service.vrm.joints import vrm_to_joints
from motion_service.vrm.stage import neutral_pose

MAX_PROCESSES: Final = 8
FEWEST_CORES: Final = 8
THREADS: Final = 2
"""With one, a long clip or a video would hold up all others; more of them only hinder each other."""
THREADS_TO_BUCKET: Final = 8
"""Where files go over the network, threads wait for it most of the time."""
LATE_NICENESS: Final = 15
"""How much the process that writes videos gives way to those that make answers."""


def default_processes(cores: int, device: str) -> int:
    """How many processes should make answers when nobody says; 0 = threads.

    Only beside a GPU, and only where there are cores for them and for whoever asks.
    """
    return min(MAX_PROCESSES, cores // 2) if device == "cuda" and cores >= FEWEST_CORES else 0


class Finisher(Protocol):
    """Makes answers, and the files that follow them."""

    async def start(self) -> None:
        """Get ready. Nothing else is called before it returns."""

    async def finish(self, take: Take) -> Answer:
        """Raises as :func:`~motion_service.answer.take_to_answer`, and GenerationFailed when its process is lost."""
        ...

    def save(self, late: Any) -> None:
        """Make one of the ``pending`` files of an answer, in a thread of the caller's. Raises what its maker does."""

    async def stop(self) -> None:
        """Finish what runs."""


class ThreadFinisher:
    """A :class:`Finisher` in threads of this process."""

    def __init__(self, store: ArtifactStore, threads: int = THREADS, matcher: ClipMatcher | None = None) -> None:
        self._store, self._matcher = store, matcher
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="motion-answers")

    async def start(self) -> None:
        """There is nothing to get ready."""

    async def finish(self, take: Take) -> Answer:
        """In the first thread that is free."""
        work = partial(copy_context().run, take_to_answer, take, self._store, self._matcher)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def save(self, late: LateFile) -> None:
        """In the caller's thread."""
        late.save(self._store)

    async def stop(self) -> None:
        """Wait for what the threads are at."""
        await asyncio.to_thread(self._threads.shutdown)


class ProcessFinisher:
    """A :class:`Finisher` in ``count`` processes, and one more, of low priority, for the files that follow.

    What needs the SMPL model stays here: it is large, and its fit runs on the GPU of this process.
    """

    def __init__(self, store: ArtifactStore, count: int, log_level: str, matcher: ClipMatcher | None = None) -> None:
        """The processes begin to get ready at once, beside whatever else is loaded."""
        setup = partial(_new_handler, store, log_level, matcher)
        self._here = ThreadFinisher(store, matcher=matcher)
        self._makers = Processes(count, setup, name="motion-answers")
        self._writer = Processes(1, setup, niceness=LATE_NICENESS, name="motion-artifacts")
        self._loop: asyncio.AbstractEventLoop | None = None
        for processes in (self._makers, self._writer):
            processes.launch()

    async def start(self) -> None:
        """Returns when every process is ready. Raises GenerationFailed when one does not start."""
        self._loop = asyncio.get_running_loop()
        await asyncio.gather(self._makers.start(), self._writer.start())

    async def finish(self, take: Take) -> Answer:
        """In the process that has been free for the shortest time."""
        if take.smpl is not None:
            return await self._here.finish(take)
        answer: Answer = await self._makers.call((request_id.get(), take))
        return answer

    def save(self, late: LateFile | bytes) -> None:
        """In the process for such files; never call it on the event loop."""
        if isinstance(late, LateFile):
            return self._here.save(late)
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._writer.call(late), self._loop).result()

    async def stop(self) -> None:
        """End the processes after what they are at."""
        await asyncio.gather(self._makers.stop(), self._writer.stop(), self._here.stop())


# --- in the child processes -------------------------------------------------------------------------------------------


def _new_handler(store: ArtifactStore, log_level: str, matcher: ClipMatcher | None) -> Handler:
    configure_logging(log_level)
    torch.set_num_threads(1)
    _warm_up(matcher)
    gc.collect()
    gc.freeze()
    return partial(_handle, store, matcher)


def _handle(store: ArtifactStore, matcher: ClipMatcher | None, call: Any) -> Answer | None:
    """A take becomes an answer, whose late files are packed for the trip there and back; such a pack becomes a file."""
    if isinstance(call, bytes):
        late: LateFile = ForkingPickler.loads(call)
        late.save(store)
        return None
    asked_by, take = call
    request_id.set(asked_by)
    job_id.set(take.job_id)
    answer = take_to_answer(take, store, matcher)
    return replace(answer, pending={kind: bytes(ForkingPickler.dumps(late)) for kind, late in answer.pending.items()})


@torch.inference_mode()
def _warm_up(matcher: ClipMatcher | None) -> None:
    """Once through what every answer goes through, so that the first request does not wait for libraries to load."""
    pose = neutral_pose()
    tracks = {bone: track.repeat(20, 1) for bone, track in pose.rotations.items()}
    still = VrmClip(tracks, pose.hips.repeat(20, 1), torch.ones(20, 4), pose.fps, pose.rest_hips_height)
    features = clip_to_features(vrm_to_joints(still))
    clip, _ = decode(SourceClip(features, "", None, None, 0, 0.0, 0))
    posed = pose_clip(clip)
    measure_pose(posed)
    if matcher is not None:
        matcher.match(posed, np.zeros(MATCH_WIDTH, np.float32))
    encode_response(fit_clip(clip, Fitting()).wire, {})
