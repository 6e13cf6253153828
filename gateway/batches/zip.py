"""A ZIP archive written as a stream, nothing compressed (pure): memory grows by a name and 46 bytes an entry.

Source: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.9 (data descriptor), 4.3.12 (central directory), 4.3.14 to
4.3.16 (its end), 4.5.3 (ZIP64 field).
"""

import struct
import zlib

_VERSION = 45  #: 4.5, for ZIP64
#: Bit 3: checksum and sizes follow the data, in a descriptor. Bit 11: names are UTF-8.
_FLAGS = 0x0808
_MOST = 0xFFFFFFFF
#: 1980-01-01, midnight, the first that the format knows: archives of the same results are the same bytes.
_TIME, _DATE = 0, 0x21


class ZipStream:
    """`begin` an entry, `write` its bytes, `end` it; `finish` after the last one. Each answers what is to be sent."""

    def __init__(self) -> None:
        self._offset = 0
        self._directory = bytearray()
        self._entries = 0
        self._name = b""
        self._begins = 0
        self._crc = 0
        self._size = 0

    def begin(self, name: str) -> bytes:
        """The header of an entry of less than 4 GiB."""
        self._name, self._begins, self._crc, self._size = name.encode(), self._offset, 0, 0
        fields = (0x04034B50, _VERSION, _FLAGS, 0, _TIME, _DATE, 0, 0, 0, len(self._name), 0)
        return self._sent(struct.pack("<IHHHHHIIIHH", *fields) + self._name)

    def write(self, data: bytes) -> bytes:
        """Some of the entry's bytes."""
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        return self._sent(data)

    def end(self) -> bytes:
        """What follows the entry's bytes."""
        is_far = self._begins >= _MOST
        extra = struct.pack("<HHQ", 1, 8, self._begins) if is_far else b""
        fields = (0x02014B50, 3 << 8 | _VERSION, _VERSION, _FLAGS, 0, _TIME, _DATE, self._crc, self._size, self._size)
        lengths = (len(self._name), len(extra), 0, 0, 0, 0o100644 << 16, _MOST if is_far else self._begins)
        self._directory += struct.pack("<IHHHHHHIIIHHHHHII", *fields, *lengths) + self._name + extra
        self._entries += 1
        return self._sent(struct.pack("<IIII", 0x08074B50, self._crc, self._size, self._size))

    def finish(self) -> bytes:
        """The central directory."""
        begins, size = self._offset, len(self._directory)
        end64 = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, _VERSION, _VERSION, 0, 0, self._entries, self._entries, size, begins)
        locator = struct.pack("<IIQI", 0x07064B50, 0, begins + size, 1)
        count = min(self._entries, 0xFFFF)
        end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, min(size, _MOST), min(begins, _MOST), 0)
        is_large = count == 0xFFFF or size >= _MOST or begins >= _MOST
        return bytes(self._directory) + (end64 + locator if is_large else b"") + end

    def _sent(self, data: bytes) -> bytes:
        self._offset += len(data)
        return data
