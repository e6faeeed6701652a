"""The container of a glTF binary (``.glb``, ``.vrm``) to its JSON document. Knows nothing of what the document says.

Only the JSON chunk is ever held; all else is hashed as it goes by. Every length is checked before it is believed.
Format: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html#binary-gltf-layout
"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import orjson

from motion_service.errors import BadRequest, PayloadTooLarge, UnsupportedFormat

MAX_FILE: Final = 128 * 2**20
"""Longest file in bytes."""
MAX_JSON: Final = 16 * 2**20
"""Longest JSON chunk in bytes."""
MAX_JSON_VALUES: Final = 400_000
"""Most commas and opening brackets in the JSON chunk, which bounds the objects that parsing it makes: one costs up to
about 230 bytes, so that 16 MiB of ``{}`` would take 0.6 GB."""
MAX_CHUNKS: Final = 16
"""Most chunks of a file. glTF 2.0 knows two."""
FIELD: Final = "avatar"
"""Name of the input in errors."""

_MAGIC: Final = b"glTF"
_VERSION: Final = 2
_JSON: Final = b"JSON"
_BINARY: Final = b"BIN\0"
_PIECE: Final = 2**18  # bytes read at once


@dataclass(frozen=True, slots=True)
class Glb:
    """What is kept of a file."""

    document: dict[str, Any]
    binary_length: int
    """Length of the binary chunk in bytes, 0 without one."""
    sha256: str
    """Of the whole file, 64 hexadecimal digits."""


class _HashedReader:
    """Reads a file once from front to back and hashes all of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, count: int) -> bytearray:
        """Exactly ``count`` bytes; they need not all exist before they are asked for."""
        data = bytearray()
        while len(data) < count:
            data += self._next(count - len(data))
        return data

    def skip(self, count: int) -> None:
        while count:
            count -= len(self._next(count))

    def finish(self) -> str:
        """The hash. Raises :class:`BadRequest` when there is more."""
        if self._file.read(1):
            raise BadRequest("the file is longer than its header says: export or copy it again", field=FIELD)
        return self._hash.hexdigest()

    def _next(self, at_most: int) -> bytes:
        piece = self._file.read(min(at_most, _PIECE))
        if not piece:
            raise BadRequest("the file is cut off: export or copy it again", field=FIELD)
        self._hash.update(piece)
        return piece


def read_glb(source: BinaryIO | bytes) -> Glb:
    """Read a file that is open for reading in binary mode, or its bytes.

    Raises :class:`UnsupportedFormat` for other formats, :class:`PayloadTooLarge` beyond the limits above, and
    :class:`BadRequest` for a broken file.
    """
    reader = _HashedReader(io.BytesIO(source) if isinstance(source, bytes) else source)
    left = _read_header(reader)
    text, binary_length = None, 0
    for _ in range(MAX_CHUNKS):
        if left == 0:
            break
        length, kind, left = _read_chunk_header(reader, left)
        if text is None:
            text = _read_json_text(reader, length, kind)
        else:
            reader.skip(length)
            binary_length = length if kind == _BINARY and binary_length == 0 else binary_length
    if text is None or left:
        raise BadRequest(f"the file needs a JSON chunk and at most {MAX_CHUNKS} chunks: export it again", field=FIELD)
    sha256 = reader.finish()
    return Glb(_parse(text), binary_length, sha256)


def _read_header(reader: _HashedReader) -> int:
    """Bytes that follow the header."""
    magic = bytes(reader.read(4))
    if magic != _MAGIC:
        raise UnsupportedFormat("the file is no binary glTF: send a .vrm file, as exported", field=FIELD)
    version, length = struct.unpack("<II", reader.read(8))
    if version != _VERSION:
        raise UnsupportedFormat(f"the file is glTF version {version}: export it as VRM 0.x or 1.0", field=FIELD)
    if length > MAX_FILE:
        raise PayloadTooLarge(f"a file may have {MAX_FILE >> 20} MiB: make its textures smaller", field=FIELD)
    if length < 12:
        raise BadRequest(f"the header says that the file has {length} bytes: export it again", field=FIELD)
    return int(length) - 12


def _read_chunk_header(reader: _HashedReader, left: int) -> tuple[int, bytes, int]:
    """Length and kind of the next chunk, and the bytes left in the file after it."""
    if left < 8:
        raise BadRequest("the file ends inside the header of a chunk: export it again", field=FIELD)
    length, kind = struct.unpack("<I4s", reader.read(8))
    if length > left - 8:
        raise BadRequest("a chunk of the file is longer than the file: export or copy it again", field=FIELD)
    return length, kind, left - 8 - length


def _read_json_text(reader: _HashedReader, length: int, kind: bytes) -> bytearray:
    if kind != _JSON:
        raise BadRequest("the first chunk of the file is not JSON: export it again", field=FIELD)
    if length > MAX_JSON:
        raise PayloadTooLarge(f"the JSON part of a file may have {MAX_JSON >> 20} MiB: simplify it", field=FIELD)
    text = reader.read(length)
    if sum(text.count(mark) for mark in (b",", b"[", b"{")) > MAX_JSON_VALUES:
        raise PayloadTooLarge(f"the JSON part of a file may hold {MAX_JSON_VALUES} values: simplify it", field=FIELD)
    return text


def _parse(text: bytearray) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the JSON part of the file cannot be read: {error}", field=FIELD) from error
    if not isinstance(document, dict):
        raise BadRequest("the JSON part of the file is no object: export it again", field=FIELD)
    return document
