"""An edit that succeeded, with its picture at hand."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.client.answers import Job
from gateway.client.pictures import ending_of

if TYPE_CHECKING:
    from os import PathLike

    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Edited:
    """`content`: the bytes of the edited picture, as the service has them."""

    job: Job
    content: bytes = field(repr=False)

    def save(self, path: "str | PathLike[str]") -> Path:
        """Write the picture to this file, or into this folder under the edit's id. Answers the file. Raises OSError."""
        file = file_for(self.job, Path(path))
        file.write_bytes(self.content)
        return file

    def image(self) -> "Image":
        """The picture for Pillow."""
        from PIL import Image

        return Image.open(io.BytesIO(self.content))


def file_for(job: Job, path: Path) -> Path:
    """Where the result of this edit goes: `path`, or a file of its own in it if it is a folder."""
    assert job["output"] is not None
    return path / f"{job['id']}.{ending_of(job['output'])}" if path.is_dir() else path
