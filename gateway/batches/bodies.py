"""The bytes of a batch: as they come, or unpacked while they come."""

import zlib
from collections.abc import AsyncIterator

from gateway.body import BodyReader
from shared.batch import STREAM_MAX_BYTES
from shared.errors import BodyTooLarge, IncompleteBody, UnsupportedMediaType
from shared.turns import Turns

_STEP_BYTES = 64 * 1024
#: zlib copies what follows a member: members of 20 bytes that unpack to nothing would cost the square of their number.
_FED_BYTES = 4 * 1024
#: Lists of alike items shrink a hundredfold; what shrinks more, and is large, is a bomb.
_FREE_BYTES = 64 * 1024 * 1024
_EXPANSION_MAX = 100
_GZIP_WINDOW = 31  # Source: zlib manual, inflateInit2: 16 more than the window bits reads a gzip header and trailer.


async def unpacked(reader: BodyReader) -> AsyncIterator[bytes]:
    """The gzip body in pieces of at most 64 KiB; several members follow each other, as in a file that was appended to.

    Raises UnsupportedMediaType for what is not gzip, IncompleteBody, BodyTooLarge for a bomb, and like `BodyReader.read`.
    """
    unzip, got, made, is_begun, turns = zlib.decompressobj(_GZIP_WINDOW), 0, 0, False, Turns()
    async for packed in _fed(reader):
        got += len(packed)
        while packed:
            if unzip.eof:
                unzip = zlib.decompressobj(_GZIP_WINDOW)
            try:
                piece = unzip.decompress(packed, _STEP_BYTES)
            except zlib.error:
                raise UnsupportedMediaType.at("", "the body is not gzip, as its Content-Encoding says") from None
            is_begun, packed = True, unzip.unconsumed_tail or unzip.unused_data
            made += len(piece)
            if made > STREAM_MAX_BYTES or (made > _FREE_BYTES and made > _EXPANSION_MAX * got):
                raise BodyTooLarge.at("", f"the body unpacks to more than {made} bytes, from {got}")
            await turns.give()
            if piece:
                yield piece
    while is_begun and (piece := unzip.decompress(unzip.unconsumed_tail, _STEP_BYTES)):
        yield piece
    if is_begun and not unzip.eof:
        raise IncompleteBody.at("", "the gzip body ends in the middle")


async def _fed(reader: BodyReader) -> AsyncIterator[bytes]:
    async for piece in reader.pieces():
        for start in range(0, len(piece), _FED_BYTES):
            yield piece[start : start + _FED_BYTES]
