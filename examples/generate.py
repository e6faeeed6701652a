"""Motion for one prompt from a running service, and what a player needs to know about it."""

from __future__ import annotations

import sys

from motion_service.client import MotionClient
from motion_service.errors import MotionError


def main(prompt: str = "a person waves with the right hand", service: str = "http://127.0.0.1:7100") -> int:
    """Print the facts of the clip. Exit code 1 when there is no service or it refuses the prompt."""
    try:
        with MotionClient(service) as client:
            motion = client.generate(prompt, duration_sec=4, seed=7)
    except MotionError as error:
        print(error.detail, file=sys.stderr)
        return 1
    print(f"{motion.duration_sec:g} s at {motion.fps:g} fps by {motion.metadata.generator}: {motion.url}")
    if motion.fallback_used:
        print(f"a placeholder: {motion.metadata.fallback_reason}")
    for bone, keys in motion.tracks.items():
        first = keys[0]
        print(f"{bone:>16}: {len(keys)} keys, starts at ({first.x:.3f}, {first.y:.3f}, {first.z:.3f}, {first.w:.3f})")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
