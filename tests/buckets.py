"""An S3 server on the loopback address, and stores on it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "motion"


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of a server with one bucket, for which the environment has an account."""
    logging.getLogger("werkzeug").setLevel("ERROR")  # else it tells every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        account = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }
        for name, value in account.items():
            patch.setenv(name, value)
        try:
            fsspec.filesystem("s3", skip_instance_cache=True).mkdir(BUCKET)
            yield account["AWS_ENDPOINT_URL"]
        finally:
            server.stop()


SECRET_KEY = "a-secret-of-the-bucket"
