"""Archives as other programs read them."""

import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from gateway.batches.zip import ZipStream


def archive(entries: list[tuple[str, list[bytes]]]) -> bytes:
    stream, sent = ZipStream(), bytearray()
    for name, pieces in entries:
        sent += stream.begin(name)
        for piece in pieces:
            sent += stream.write(piece)
        sent += stream.end()
    return bytes(sent + stream.finish())


def test_what_went_in_comes_out() -> None:
    entries = [("a.png", [b"one ", b"two"]), ("ä/leer.txt", []), ("b.bin", [bytes(range(256)) * 5_000])]
    with zipfile.ZipFile(io.BytesIO(archive(entries))) as found:
        assert found.testzip() is None
        assert {name: found.read(name) for name in found.namelist()} == {name: b"".join(pieces) for name, pieces in entries}
        assert {info.compress_type for info in found.infolist()} == {zipfile.ZIP_STORED}


def test_more_entries_than_the_old_format_counts() -> None:
    data = archive([(f"{n}.txt", [b"x"]) for n in range(66_000)])
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert len(found.namelist()) == 66_000
        assert found.read("65999.txt") == b"x"


def test_an_archive_beyond_four_gigabytes() -> None:
    """The middle is left out here: only where things lie counts."""
    stream, sent = ZipStream(), io.BytesIO()
    sent.write(stream.begin("first.txt") + stream.write(b"first") + stream.end())
    gap = 5 << 30
    stream._offset += gap
    begins = sent.tell()
    tail = stream.begin("last.txt") + stream.write(b"last") + stream.end() + stream.finish()

    class Sparse(io.RawIOBase):
        """The archive with the gap in it."""

        at = 0

        def seekable(self) -> bool:
            return True

        def readable(self) -> bool:
            return True

        def tell(self) -> int:
            return self.at

        def seek(self, offset: int, whence: int = 0) -> int:
            self.at = offset + {0: 0, 1: self.at, 2: begins + gap + len(tail)}[whence]
            return self.at

        def read(self, size: int = -1) -> bytes:
            within = self.at - begins - gap
            data = tail[within:] if within >= 0 else sent.getvalue()[self.at :]
            data = data[:size] if size >= 0 else data
            self.at += len(data)
            return data

    with zipfile.ZipFile(Sparse()) as found:  # type: ignore[call-overload]
        assert (found.read("first.txt"), found.read("last.txt")) == (b"first", b"last")


@pytest.mark.skipif(shutil.which("unzip") is None, reason="there is no unzip here")
def test_unzip_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive([("a.png", [b"one ", b"two"])]))
    subprocess.run(["unzip", "-t", str(path)], check=True, timeout=30, capture_output=True)
