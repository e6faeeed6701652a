from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton comes with torch's CUDA build")

from triton.runtime.errors import OutOfResources

from motion_service.mdm.kernels_compile import compile_ahead, launch


class Kernel:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *args, **options: self.calls.append(("run", grid, args, options))

    def warmup(self, *args: Any, grid: tuple[int, ...], **options: Any) -> None:
        self.calls.append(("compile", grid, args, options))


def test_ahead_nothing_is_launched_and_afterwards_all_is() -> None:
    kernel = Kernel()
    launch(kernel, (2,), 1, num_warps=4)
    with compile_ahead(2):
        launch(kernel, (3,), 2, num_warps=8)
    launch(kernel, (4,), 3)
    assert kernel.calls == [
        ("run", (2,), (1,), {"num_warps": 4}),
        ("compile", (3,), (2,), {"num_warps": 8}),
        ("run", (4,), (3,), {}),
    ]


class SmallKernel(Kernel):
    """One that a GPU has shared memory for only where it reads ahead few stages."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def run(*args: Any, **options: Any) -> None:
            self.calls.append(("run", grid, args, options))
            if options["num_stages"] > self.most:
                raise OutOfResources(147584, 101376, "shared memory")

        return run


def test_where_shared_memory_is_short_a_kernel_reads_ahead_less_and_that_is_remembered() -> None:
    kernel = SmallKernel(most=2)
    for _ in range(2):
        launch(kernel, (1,), 7, num_stages=4, num_warps=8)
    assert [options["num_stages"] for *_, options in kernel.calls] == [4, 3, 2, 2]
    launch(kernel, (1,), 7, num_stages=4, num_warps=4)
    assert kernel.calls[4][3]["num_stages"] == 4, "other tiles are tried for themselves"
    with pytest.raises(OutOfResources):
        launch(SmallKernel(most=0), (1,), num_stages=2)


def test_an_error_in_the_block_ends_it() -> None:
    kernel = Kernel()
    with pytest.raises(ValueError, match="broken"), compile_ahead(1):
        raise ValueError("broken")
    launch(kernel, (1,))
    assert kernel.calls[0][0] == "run"
