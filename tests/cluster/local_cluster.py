"""A small Ray cluster on this machine: a head that takes requests, and nodes with a GPU that is but a number."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from motion_service.config import set_ray_defaults

PORT: Final = 7100
URL: Final = f"http://127.0.0.1:{PORT}"
KEY: Final = "a key of this test"
_SMALL: Final[dict[str, Any]] = {"include_dashboard": False, "object_store_memory": 80_000_000, "num_cpus": 1}


class LocalCluster:
    """Nodes that come and go. Import Ray only after :func:`prepare`."""

    def __init__(self) -> None:
        import ray
        from ray import serve
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={**_SMALL, "num_gpus": 0})
        ray.init(address=self._cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": PORT})

    def add_node(self) -> Any:
        """A node for one replica."""
        return self._cluster.add_node(num_gpus=1, **_SMALL)

    def kill_node_of_oldest_replica(self) -> None:
        """All processes of a node at once, as when its power fails."""
        oldest = min(replicas("RUNNING"), key=lambda replica: replica["start_time_s"])
        (node,) = (node for node in self._cluster.list_all_nodes() if node.node_id == oldest["node_id"])
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        import ray
        from ray import serve

        serve.shutdown()
        ray.shutdown()
        self._cluster.shutdown()


def replicas(state: str) -> list[dict[str, Any]]:
    """Those of our deployment in one state, as of the Serve REST API."""
    from ray.serve.context import _get_global_client

    client = _get_global_client()
    assert client is not None
    deployments = client.get_serve_details()["applications"]["motion"]["deployments"]
    return [replica for replica in deployments["Motion"]["replicas"] if replica["state"] == state]


def wait_for_replicas(count: int, seconds: float) -> float:
    """Until there are so many; how long that took, s."""
    started = time.monotonic()
    while len(replicas("RUNNING")) != count:
        assert time.monotonic() - started < seconds, f"not {count} replicas within {seconds} s"
        time.sleep(0.2)
    return time.monotonic() - started


def prepare(directory: Path) -> None:
    """The environment of every process of the cluster. Before Ray is imported."""
    set_ray_defaults()
    os.environ.update(
        RAY_AUTH_TOKEN=secrets.token_hex(32),
        DATA_ROOT=str(directory),
        MOTION_STREAM_SECRET=secrets.token_hex(16),
        MOTION_API_KEYS=KEY,
        MOTION_LOG_LEVEL="error",
        RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S="1",  # so that it grows within seconds
        RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S="1",
        PYTHONPATH=str(Path(__file__).resolve().parents[2]),
    )


@contextmanager
def local_cluster(nodes: int, directory: Path) -> Iterator[LocalCluster]:
    """A head and so many nodes."""
    prepare(directory)
    cluster = LocalCluster()
    try:
        for _ in range(nodes):
            cluster.add_node()
        yield cluster
    finally:
        cluster.close()
