"""How an edit is written into its record: shorter than it is, and whole again when it is read."""

import pytest

from shared.edit import EditSpec, InputRef, Role
from shared.ids import new_id
from shared.picture import PictureInfo

_ID = new_id("edit", now_ms=1_767_225_600_123, random_bytes=bytes(10))
_INFO = PictureInfo(format="jpeg", width=1024, height=768, bytes=120_152)
_ODD = PictureInfo(format="png", width=1, height=2, bytes=3, mode="RGBA", has_alpha=True, orientation=6)


@pytest.mark.parametrize(
    "inputs",
    [
        (InputRef(role=Role.IMAGE, key=f"in/t1/{_ID}/image-0.jpg", info=_INFO, sha256="0" * 64),),
        (InputRef(role=Role.IMAGE, key="out/t1/edit_earlier/1/0.png", info=_ODD, sha256="0" * 64),),
        (InputRef(role=Role.IMAGE, url="https://example.com/a.png"), InputRef(role=Role.MASK, key=f"in/t1/{_ID}/mask-0.png")),
        (InputRef(role=Role.IMAGE, key="in/t1/another/image-0.jpg", info=_INFO), InputRef(role=Role.REFERENCE)),
        (),
    ],
)
def test_an_edit_is_read_from_its_record_as_it_was_written(inputs: tuple[InputRef, ...]) -> None:
    spec = EditSpec(prompt=f"put in/t1/{_ID}/ on the sign", inputs=inputs, seed=7)
    assert EditSpec.from_record(spec.to_record(_ID), "t1", _ID) == spec
    assert EditSpec.model_validate_json(spec.model_dump_json()) == spec
    assert EditSpec.model_validate(spec.model_dump()) == spec


def test_the_folder_of_its_own_pictures_is_not_written() -> None:
    own = InputRef(role=Role.IMAGE, key=f"in/t1/{_ID}/image-0.jpg", info=_INFO, sha256="0" * 64)
    assert _ID not in EditSpec(inputs=(own,)).to_record(_ID)
    other = own.model_copy(update={"key": f"out/t1/{_ID}/1/0.jpg"})
    assert f"out/t1/{_ID}/1/0.jpg" in EditSpec(inputs=(other,)).to_record(_ID)
