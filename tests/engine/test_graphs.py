import pytest
import torch

from motion_service.engine.graphs import Graphs


def test_without_cuda_work_runs_every_time() -> None:
    graphs, count = Graphs("cpu"), torch.zeros(())
    graphs.record("add", lambda: count.add_(1), warm=2)
    assert count == 0 and "add" in graphs and graphs.keys == ("add",) and not graphs.enabled
    graphs.run("add")
    graphs.run("add")
    assert count == 2 and graphs.nbytes == 0


def test_unknown_and_forgotten_work() -> None:
    graphs = Graphs("cpu")
    graphs.record((8, 100), lambda: None)
    graphs.forget((8, 100))
    assert (8, 100) not in graphs
    with pytest.raises(KeyError):
        graphs.run((8, 100))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_graph_replays_on_the_same_buffers() -> None:
    graphs, count = Graphs("cuda"), torch.zeros((), device="cuda")
    calls = []

    def work() -> None:
        calls.append(1)
        count.add_(1)

    graphs.record("add", work, warm=2)
    assert len(calls) == 3 and count == 2  # recording launches nothing
    graphs.run("add")
    assert len(calls) == 3 and count == 3


def test_runs_are_counted_for_those_who_ask() -> None:
    graphs = Graphs("cpu")
    for owner in ("mini", "dip"):
        graphs.record((owner, 1), lambda: None)
    for owner in ("mini", "mini", "dip"):
        graphs.run((owner, 1))
    assert graphs.counts(lambda key: isinstance(key, tuple) and key[0] == "mini") == {
        "graph_hits": 0,
        "graph_misses": 0,
    }
    graphs.enabled = True  # as on a GPU where nothing was recorded: everything is a miss
    assert graphs.counts(lambda key: isinstance(key, tuple) and key[0] == "mini") == {
        "graph_hits": 0,
        "graph_misses": 2,
    }
