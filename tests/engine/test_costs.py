import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_service.engine.costs import CPU_MINI, H100_FULL, CostTable, Curve, cpu_costs, curve_ms, h100_costs


def test_a_lone_clip_costs_what_was_measured() -> None:
    costs = h100_costs()
    assert 50 * costs.step_ms("mdm", 100, 1, "loop") == pytest.approx(10.3)
    assert 10 * costs.step_ms("dip", 60, 1, "loop") == pytest.approx(1.82)
    assert 50 * costs.step_ms("mdm", 100, 64, "loop") == pytest.approx(81.2)
    assert 10 * cpu_costs().step_ms("mini", 60, 1, "loop") == pytest.approx(112.0)


def test_a_graph_for_each_step_costs_its_launch() -> None:
    costs = CostTable(H100_FULL, launch_ms=0.02, dispatch_ms=0.5)
    inside = costs.step_ms("mdm", 100, 8, "loop")
    assert costs.step_ms("mdm", 100, 8) == pytest.approx(inside + 0.02)
    assert costs.batch_ms("mdm", 100, 8, "step", 3) == pytest.approx(0.5 + 3 * (inside + 0.02))


@pytest.mark.parametrize("curve", [H100_FULL, CPU_MINI])
@given(rows=st.lists(st.integers(1, 100_000), min_size=2, max_size=2, unique=True))
@settings(max_examples=100, deadline=None)
def test_more_rows_never_cost_less(curve: Curve, rows: list[int]) -> None:
    few, many = sorted(rows)
    assert 0 < curve_ms(curve, few) <= curve_ms(curve, many)


def test_batching_pays_on_the_gpu_and_not_on_the_cpu() -> None:
    gpu, cpu = h100_costs(), cpu_costs()
    per_clip = [gpu.step_ms("mdm", 100, width) / width for width in (1, 2, 4, 8, 16, 32, 64)]
    assert all(wide < narrow for narrow, wide in itertools.pairwise(per_clip))
    assert cpu.step_ms("mini", 60, 8) == pytest.approx(8 * cpu.step_ms("mini", 60, 1))


def test_another_device_is_learned() -> None:
    """Three times as slow everywhere: seen shapes at once, others from their neighbours in rows."""
    costs, seed = h100_costs(), h100_costs()
    for bucket, width in ((100, 1), (100, 64)):
        for _ in range(20):
            costs.observe("mdm", bucket, width, "step", 10, 3 * seed.step_ms("mdm", bucket, width) * 10 + 0.1)
    for shape in ((100, 1), (100, 8), (100, 64), (200, 64), (40, 1)):
        assert costs.step_ms("mdm", *shape) == pytest.approx(3 * seed.step_ms("mdm", *shape), rel=1e-6)
    assert costs.step_ms("mdm", 100, 4, "loop") == pytest.approx(3 * seed.step_ms("mdm", 100, 4, "loop"))
    assert costs.step_ms("dip", 100, 1) == seed.step_ms("dip", 100, 1), "other models are other models"


def test_factors_between_two_measured_shapes_lie_between_theirs() -> None:
    costs, seed = h100_costs(), h100_costs()
    costs.observe("mdm", 100, 1, "step", 1, 0.1 + 2 * seed.step_ms("mdm", 100, 1))
    costs.observe("mdm", 100, 64, "step", 1, 0.1 + 6 * seed.step_ms("mdm", 100, 64))
    factors = [costs.step_ms("mdm", 100, width) / seed.step_ms("mdm", 100, width) for width in (1, 2, 8, 32, 64)]
    assert factors == sorted(factors)
    assert (factors[0], factors[-1]) == (pytest.approx(2), pytest.approx(6))
    assert factors[2] == pytest.approx(4), "half way on the scale of powers of two"


def test_the_mean_follows_a_change_and_one_pause_hardly_moves_it() -> None:
    costs = CostTable(((1, 1.0),), launch_ms=0.0, dispatch_ms=0.0)
    for _ in range(30):
        costs.observe("m", 1, 1, "step", 1, 1.0)
    costs.observe("m", 1, 1, "step", 1, 500.0)
    assert costs.step_ms("m", 1, 1) <= 1.6 + 1e-9
    for _ in range(30):
        costs.observe("m", 1, 1, "step", 1, 5.0)
    assert costs.step_ms("m", 1, 1) == pytest.approx(5.0, rel=0.01)


@pytest.mark.parametrize("took_ms", [0.0, -5.0, math.nan, math.inf])
def test_times_that_are_none_teach_nothing(took_ms: float) -> None:
    costs, seed = h100_costs(), h100_costs()
    costs.observe("mdm", 100, 1, "step", 10, took_ms)
    assert costs.step_ms("mdm", 100, 1) == seed.step_ms("mdm", 100, 1)


@pytest.mark.parametrize("curve", [(), ((2, 1.0), (1, 2.0)), ((0, 1.0),), ((1, 0.0),)])
def test_a_curve_that_is_none_is_refused(curve: Curve) -> None:
    with pytest.raises(ValueError, match="curve"):
        CostTable(curve)
