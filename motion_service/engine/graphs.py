"""Work on fixed buffers, recorded once as CUDA graphs and replayed; run as it is where there are no graphs.

Launching kernels one by one costs the host more than the GPU takes for them; a graph is one launch. All graphs share
one memory pool, so that they cost little more than the largest: never run two at once, and keep no tensor that was
made inside. What work does is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch

Work = Callable[[], object]
"""Reads and writes buffers that stay where they are; decides nothing by values on the device."""


class Graphs:
    """Recorded work by key. Not thread-safe: record and run on one thread."""

    def __init__(self, device: torch.device | str, *, enabled: bool = True, priority: int = 0) -> None:
        """Without CUDA, or not ``enabled``, work runs eagerly every time. ``priority``: of its kernels; -1 = before
        others of this process.
        """
        self.device = torch.device(device)
        self.enabled = enabled and self.device.type == "cuda"
        self._work: dict[Hashable, Work] = {}
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._times: dict[Hashable, int] = {}
        self._nbytes = 0
        if self.enabled:
            self._stream = torch.cuda.Stream(self.device, priority=priority)
            self._pool = torch.cuda.graph_pool_handle()

    def record(self, key: Hashable, work: Work, *, warm: int = 2) -> None:
        """Keep ``work`` under ``key``. It runs ``warm`` times first (libraries choose, kernels compile), so its
        buffers change. An exception of the work passes through, and the key stays unknown.
        """
        if self.enabled:
            before = torch.cuda.mem_get_info(self.device)[0]
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self._stream), torch.inference_mode():
                for _ in range(warm):
                    work()
            torch.cuda.current_stream(self.device).wait_stream(self._stream)
            torch.cuda.synchronize(self.device)
            graph = torch.cuda.CUDAGraph()
            with (
                torch.inference_mode(),
                torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                work()
            self._graphs[key] = graph
            self._nbytes += max(0, before - torch.cuda.mem_get_info(self.device)[0])
        self._work[key] = work

    def run(self, key: Hashable) -> None:
        """Do the work of ``key`` on the current stream; returns before a GPU is done. Raises KeyError if unknown."""
        work = self._work[key]
        self._times[key] = self._times.get(key, 0) + 1
        graph = self._graphs.get(key)
        if graph is None:
            work()
        else:
            graph.replay()

    def forget(self, key: Hashable) -> None:
        """Drop one recording; its memory goes back to the pool."""
        del self._work[key]
        self._graphs.pop(key, None)

    def counts(self, chosen: Callable[[Hashable], bool]) -> dict[str, int]:
        """How often work of the chosen keys ran as a graph, and how often as it is where graphs are enabled; warm-up
        included.
        """
        ran = {True: 0, False: 0}
        for key, times in self._times.copy().items():
            ran[key in self._graphs] += times if chosen(key) else 0
        return {"graph_hits": ran[True], "graph_misses": ran[False] if self.enabled else 0}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._work

    @property
    def keys(self) -> tuple[Hashable, ...]:
        return tuple(self._work)

    @property
    def nbytes(self) -> int:
        """Device memory that recording took from the driver, workspaces of libraries included.

        What torch had kept from earlier work and used again is not seen: measure in a fresh process.
        """
        return self._nbytes
