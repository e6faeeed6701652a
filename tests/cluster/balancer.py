"""Several services behind one port: each connection goes to whoever has the fewest. For benchmarks only."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections import Counter


class Balancer:
    """Passes bytes on."""

    def __init__(self, ports: list[int]) -> None:
        self._open = Counter({port: 0 for port in ports})

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        port = min(self._open, key=lambda port: self._open[port])
        self._open[port] += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            self._open[port] -= 1


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while content := await reader.read(2**16):
            writer.write(content)
            await writer.drain()
    writer.close()


async def serve(port: int, ports: list[int]) -> None:
    server = await asyncio.start_server(Balancer(ports).pass_on, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("ports", type=int, nargs="+")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.ports))


if __name__ == "__main__":
    main()
