"""One life of a small cluster under load: it grows, a node dies, it heals, it is updated. The last line is JSON."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.cluster.load import Seen, load
from tests.cluster.local_cluster import KEY, URL, local_cluster, wait_for_replicas
from tests.cluster.stand_in import load_stand_in


def deploy(min_replicas: int, max_replicas: int) -> None:
    """The application with our own deployment, on sources that are quickly loaded."""
    from ray import serve

    from motion_service.cluster import APP, ClusterOptions, new_application

    options = ClusterOptions(cpus=0.5, min_replicas=min_replicas, max_replicas=max_replicas, target=4.0)
    serve.run(new_application(options, load_stand_in), name=APP)


def run(directory: Path, clients: int, streams: int) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    started = time.monotonic()

    def lap(name: str) -> None:
        nonlocal started
        facts[name] = round(time.monotonic() - started, 1)
        started = time.monotonic()

    with local_cluster(2, directory) as cluster:
        deploy(1, 2)
        lap("up_s")
        facts |= through_the_proxy()
        with load(URL, KEY, clients, streams) as seen:
            wait_for_replicas(2, 60)
            lap("grown_s")
            time.sleep(1.0)
            before = len(seen.answered)
            cluster.kill_node_of_oldest_replica()
            wait_for_replicas(1, 60)
            time.sleep(2.0)
            facts["answered_after_kill"] = len(seen.answered) - before
            cluster.add_node()
            started = time.monotonic()
            wait_for_replicas(2, 60)
            lap("healed_s")
            deploy(2, 2)
            wait_for_replicas(2, 60)
            lap("updated_s")
            time.sleep(1.0)
    return {**facts, **summary(seen), "files": len([*directory.glob("animations/*.json")])}


def through_the_proxy() -> dict[str, Any]:
    """What the service promises by itself, asked through Ray."""
    answer = httpx.get(f"{URL}/livez", headers={"X-Request-Id": "7"})
    refused = httpx.get(f"{URL}/v1/motion/jobs")
    try:
        with connect(URL.replace("http", "ws") + "/v1/motion/stream"):
            socket_status = 101
    except InvalidStatus as error:
        socket_status = error.response.status_code
    return {
        "request_ids": answer.headers.get_list("x-request-id"),
        "without_key": [refused.status_code, refused.headers["content-type"], socket_status],
    }


def summary(seen: Seen) -> dict[str, Any]:
    """What clients saw, in numbers."""
    steps = sorted(step for stream in seen.streams for step in stream.steps)
    return {
        "answered": len(seen.answered),
        "twice": seen.twice,
        "failed": seen.failed,
        "streams": len(seen.streams),
        "errors": [stream.error for stream in seen.streams if stream.error],
        "frames": [stream.frames for stream in seen.streams],
        "torn": sum(stream.torn for stream in seen.streams),
        "resumed": [stream.resumed for stream in seen.streams],
        "longest_gap_s": round(max(stream.longest_gap_s for stream in seen.streams), 2),
        "slowest_s": round(max(seen.answered.values()), 2),
        "largest_seam_rad": round(max((seam for stream in seen.streams for seam in stream.seams), default=0.0), 4),
        "largest_step_rad": round(steps[-1], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--streams", type=int, default=6)
    options = parser.parse_args()
    print(json.dumps(run(options.directory, options.clients, options.streams)))


if __name__ == "__main__":
    main()
