"""The door that every kernel is launched through, and compiling all of them side by side before the first launch.

Triton compiles a kernel when it is first launched, about a second each: minutes for all shapes of a model, one after
the other. Inside :func:`compile_ahead` nothing is launched; what launches would need is compiled by many threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Final

import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]

_COMPILES: Final = ContextVar("compiles", default=False)


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> None:
    """Launch a kernel on the current stream; inside :func:`compile_ahead` only have it compiled."""
    if _COMPILES.get():
        kernel.warmup(*args, grid=grid, **options)
    else:
        kernel[grid](*args, **options)


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
