"""Folders and CSV files as the edits of a batch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.client.batch_source import SourceUnusable, Wanted, read_source, request_fields

DEFAULTS: Mapping[str, Any] = {"prompt": "a hat"}


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def read(source: Path, *, recursive: bool = False, out: str = "out") -> list[Wanted]:
    return read_source(source, recursive=recursive, out=source / out, defaults=DEFAULTS)


def test_a_folders_pictures_come_in_order_without_what_is_hidden_or_something_else(tmp_path: Path) -> None:
    fill(tmp_path, "b.PNG", "a.jpg", "notes.txt", ".hidden.png", "deep/c.webp", ".git/d.png", "out/b.png")
    assert [one.source for one in read(tmp_path)] == ["a.jpg", "b.PNG"]
    wanted = read(tmp_path, recursive=True)
    assert [(one.source, one.stem) for one in wanted] == [("a.jpg", "a"), ("b.PNG", "b"), ("deep/c.webp", "deep/c")]
    assert wanted[2].pictures == {"image": tmp_path / "deep/c.webp"}
    assert "out/b.png" in {one.source for one in read(tmp_path, recursive=True, out="elsewhere")}


def test_every_edit_has_a_name_and_a_file_of_its_own(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "a.png", "A.webp", "a-2.gif", "grün.png", "x" * 240 + ".png")
    wanted = read(tmp_path)
    assert len({one.custom_id for one in wanted}) == len(wanted)
    assert all(one.custom_id.isascii() and len(one.custom_id) <= 64 for one in wanted)
    assert len({one.stem.lower() for one in wanted}) == len(wanted)
    assert max(len(one.stem) for one in wanted) == 200
    assert [one.custom_id for one in wanted] == [one.custom_id for one in read(tmp_path)], "the same in every run"


def test_a_name_that_is_no_text_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "\udce9t\udce9.png").touch()
    (one,) = read(tmp_path)
    assert (one.source, len(one.custom_id)) == ("\\xe9t\\xe9.png", 32)
    assert one.pictures["image"] == tmp_path / "\udce9t\udce9.png"


def test_cells_become_fields_of_their_kind(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(
        'image, prompt ,seed,guidance_scale,strict,options,webhook_events,lighting_image\n\na/b.png,"[one] {two}",7,0.5,false,'
        '"{""n"": 2}","[""edit.failed""]",https://example.com/l.png\nhttps://example.com/x.png\n'
    )
    first, second = read(file)
    assert first.fields == {
        "prompt": "[one] {two}",
        "seed": 7,
        "guidance_scale": 0.5,
        "strict": False,
        "options": {"n": 2},
        "webhook_events": ["edit.failed"],
    }
    assert first.pictures == {"image": tmp_path / "a/b.png", "lighting_image": "https://example.com/l.png"}
    assert (second.custom_id, second.stem, second.fields) == ("row-2", "row-2", {})


def test_the_faults_of_a_csv_file_are_told_together(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    rows = ["a.png,x,", "b.png,x,", ",y,", "c.png,é,", "d.png,z,high", "e.png,w,1,2", *["f.png,,no"] * 8]
    file.write_text("\n".join(["image,custom_id,seed", *rows]))
    with pytest.raises(SourceUnusable) as refused:
        read(file)
    told = str(refused.value).splitlines()
    assert "line 3: line 2 has the custom_id 'x', too" in told[1]
    assert "line 4: there is no image" in told[2]
    assert "line 5: a custom_id has 1 to 64" in told[3]
    assert "line 6: seed: Input should be a valid integer" in told[4]
    assert "line 7: there are more cells than columns" in told[5]
    assert told[11] == "  and 3 more"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the first line has to name the columns"),
        (b"picture,prompt\na.png,x\n", "the first line has to name the columns"),
        (b"image,image\na.png,b.png\n", "the first line has to name the columns"),
        (b"image\n", "has no rows"),
        (b"image,promt\na.png,x\n", "line 2: there is no field 'promt'; did you mean prompt?"),
        (b"image\n\xff.png\n", "as CSV in UTF-8"),
        (b'image\n"a.png"b\n', "as CSV in UTF-8"),
    ],
)
def test_a_file_that_is_no_list_of_edits_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(SourceUnusable, match=r".+") as refused:
        read(tmp_path / "list.csv")
    assert said in str(refused.value)


def test_a_general_edit_needs_a_prompt_and_others_do_not(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    with pytest.raises(SourceUnusable, match=r"a\.png has no prompt"):
        read_source(tmp_path, recursive=False, out=tmp_path / "out", defaults={})
    fields = request_fields({"operation": "remove_background"})
    assert len(read_source(tmp_path, recursive=False, out=tmp_path / "out", defaults=fields)) == 1


def test_a_quote_is_for_one_edit_only() -> None:
    with pytest.raises(SourceUnusable, match="there is no field 'quote_id'"):
        request_fields({"quote_id": "quote_" + "0" * 26})
