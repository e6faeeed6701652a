"""The door that every kernel is launched through, and compiling all of them side by side before the first launch.

Triton compiles a kernel when it is first launched, about a second each: minutes for all shapes of a model, one after
the other. Inside :func:`compile_ahead` nothing is launched; what launches would need is compiled by many threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Final

import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
from triton.runtime.errors import OutOfResources  # type: ignore[import-not-found, import-untyped, unused-ignore]

_COMPILES: Final = ContextVar("compiles", default=False)


_STAGES: dict[Hashable, int] = {}
"""Kernels, with their tiles, that this GPU has no shared memory for at the stages they ask for -> stages that fit."""


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> None:
    """Launch a kernel on the current stream; inside :func:`compile_ahead` only have it compiled.

    Tiles are chosen for GPUs with 227 KiB of shared memory a block. Where there is less (99 KiB on sm_120 and sm_121)
    a kernel reads ahead fewer stages, which takes less memory and some speed. Raises Triton's OutOfResources where one
    stage is too much.
    """
    key = (kernel, *sorted(options.items()))
    if key in _STAGES:
        options["num_stages"] = _STAGES[key]
    if _COMPILES.get():
        kernel.warmup(*args, grid=grid, **options)
        return
    while True:
        try:
            kernel[grid](*args, **options)
            return
        except OutOfResources:
            if options.get("num_stages", 1) <= 1:
                raise
            options["num_stages"] -= 1
            _STAGES[key] = options["num_stages"]


@contextlib.contextmanager
def compile_ahead(threads: int) -> Iterator[None]:
    """Have what is launched in the block compiled by so many threads; at its end all is done.

    What fails to compile is left for its launch to say. A Triton without such a mode compiles one after the other.
    """
    token = _COMPILES.set(True)
    try:
        with ThreadPoolExecutor(threads) as pool, _mode(pool):
            yield
    finally:
        _COMPILES.reset(token)


def _mode(pool: ThreadPoolExecutor) -> contextlib.AbstractContextManager[object]:
    mode = getattr(triton, "AsyncCompileMode", None)
    if mode is None:
        return contextlib.nullcontext()
    try:
        return mode(pool, ignore_errors=True)  # type: ignore[no-any-return]
    except TypeError:  # Triton 3.5, which comes with torch 2.9, knows no such option: the first error ends the block
        return mode(pool)  # type: ignore[no-any-return]
