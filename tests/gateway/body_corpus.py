"""JSON bodies and forms that nobody means well with, the same ones for the same seed: too deep, too many, cut off, lying."""

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from shared.batch import BatchFields, BatchItem
from shared.edit import QuoteRequest
from tests.pictures import encoded, photo

JSON, LINES, FORM = "application/json", "application/x-ndjson", "multipart/form-data; boundary=b"
PICTURE = encoded(photo(size=(24, 16)), "PNG")
WISH = {"image_base64": base64.b64encode(PICTURE).decode(), "prompt": "make it black and white"}
FIELDS = tuple(sorted({*QuoteRequest.model_fields, *BatchItem.model_fields}))


@dataclass(frozen=True)
class Body:
    """One request. `path`: below the API's prefix. `is_taken`: whether it has to be accepted, None if either is right."""

    name: str
    path: str
    data: bytes
    kind: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    is_taken: bool | None = None


@cache
def values() -> tuple[str, ...]:
    """JSON texts that fit nowhere, or almost."""
    deep = ["[" * depth + "]" * depth for depth in (3, 190, 210, 5_000)]
    deep += ['{"a":' * depth + "1" + "}" * depth for depth in (3, 190, 210, 5_000)]
    numbers = ["0", "-0", "-1", "1e999", "-1e999", "1e-999", "NaN", "Infinity", "-Infinity", "1e5", "0.30000000000000000004"]
    numbers += ["9" * 20, "9" * 309, "9" * 4_299, "9" * 5_000, "-" + "9" * 5_000, "1." + "9" * 5_000, "01", "0x10", "1_000"]
    texts = [
        '""',
        '" "',
        r'"\u0000"',
        r'"\ud800"',
        r'"\udc00\ud800"',
        r'"a\ud83d"',
        r'"\uffff\u202e"',
        r'"\u"',
        '"\x01"',
        r'"\x41"',
    ]
    texts += [
        f'"{"a" * 9_000}"',
        '"../../etc/passwd"',
        '"file:x"',
        '"file:"',
        '"http://"',
        '"https://127.0.0.1/"',
        '"1"',
        '"NaN"',
    ]
    texts += [f'"{word}"' for word in ("general_edit", "match_input", "0x0", "99999x99999", "png", "bulk", "edit.failed")]
    objects = ["[]", "{}", "[null]", '[{"url":"x","id":"y"}]', '{"a":null}', r'{"\u0000":"\u0000"}', r'{"\ud800":1}']
    objects += ['{"a":"b","a":"c"}', '{"":""}', f'{{"{"k" * 70}":"v"}}', '{"a":9' + "9" * 5_000 + "}", '{"a":1e999}', '{"a":NaN}']
    objects += ["[" + ",".join(['"x"'] * 300) + "]", "{" + ",".join(f'"k{n}":"v"' for n in range(300)) + "}", '{"a":true,"b":-0}']
    return (*deep, *numbers, *texts, *objects, "null", "true", "false", "nul", "'x'", "/**/1", "")


def wishes(chance: random.Random, *, each: int) -> Iterator[tuple[str, str]]:
    """A request with one bad field, by name; `each`: how many for a field."""
    for name in FIELDS:
        for value in chance.sample(values(), each):
            others = {key: other for key, other in WISH.items() if key != name}
            yield f"{name} {value[:40]} ({len(value)})", f'{json.dumps(others)[:-1]}, "{name}": {value}}}'


def json_bodies(seed: int, *, each: int) -> Iterator[Body]:
    """For the routes that take JSON."""
    chance = random.Random(seed)
    for name, text in wishes(chance, each=each):
        yield Body(name, chance.choice(("/process", "/quote")), as_bytes(text))
    for path, fields in _OTHERS.items():
        for name in fields:
            for value in chance.sample(values(), each):
                yield Body(f"{name} {value[:40]}", path, as_bytes(f'{{"{name}": {value}}}'))
    for path in (*_OTHERS, "/process", "/quote", "/batches"):
        for name, data in _not_json().items():
            yield Body(name, path, data, is_taken=False)
    for name, data in _masses().items():
        yield Body(name, chance.choice(("/process", "/quote")), data, is_taken=False)
    for name in BatchFields.model_fields:
        for value in chance.sample(values(), each):
            yield Body(f"batch {name} {value[:40]}", "/batches", as_bytes(f'{{"items": [{_ITEM}], "{name}": {value}}}'))
    for name, (text, is_taken) in _ITEMS.items():
        yield Body(f"items {name}", "/batches", as_bytes(text), is_taken=is_taken)


def form_bodies(seed: int, *, each: int) -> Iterator[Body]:
    """Fields as texts of a form, then forms that are none."""
    chance = random.Random(seed)
    image = part('name="image"; filename="a"', PICTURE)
    for name in FIELDS:
        for value in chance.sample(values(), each):
            data = image + part('name="prompt"', b"make it black and white") * (name != "prompt")
            data += part(f'name="{name}"', as_bytes(value)) + b"--b--\r\n"
            yield Body(f"form {name} {value[:40]}", chance.choice(("/process", "/quote")), data, FORM)
    for value in values():
        yield Body(f"form request {value[:40]}", "/process", image + part('name="request"', as_bytes(value)) + b"--b--\r\n", FORM)
    for name, mass in _masses().items():
        yield Body(f"request {name}", "/process", image + part('name="request"', mass) + b"--b--\r\n", FORM, is_taken=False)
        inner = mass[mass.index(b":") + 1 : -1]
        yield Body(f"part {name}", "/process", image + part('name="webhook_events"', inner) + b"--b--\r\n", FORM, is_taken=False)
    for name, (data, kind, taken) in _broken_forms().items():
        for path in ("/process", "/batches"):
            yield Body(f"form {name}", path, data, kind, is_taken=path in taken)


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_OTHERS = {
    "/recommend": ("operation", "prompt", "image_resolution", "user_tier", "preferences", "has_mask", "reference_images", "size"),
    "/webhooks/endpoints": ("url", "events", "description", "enabled"),
    "/webhooks/test": ("url",),
    "/webhooks/replay": ("since", "endpoint", "status", "cursor"),
    "/jobs/edit_00000000000000000000000000/feedback": ("rating", "accepted", "comment"),
    "/jobs/edit_00000000000000000000000000/retry": ("prompt", "max_cost", "options"),
    "/batches/batch_00000000000000000000000000/release": ("max_cost",),
    "/admin/keys": ("tenant", "tier", "scopes", "name", "submits_per_minute"),
}
_ITEM = json.dumps(WISH)
#: JSON bodies of batches, and whether they have to be taken.
_ITEMS: dict[str, tuple[str, bool]] = {
    "of none": ('{"items": []}', False),
    "of a comma": ('{"items": [,]}', False),
    "with a comma too many": (f'{{"items": [{_ITEM},]}}', False),
    "twice": (f'{{"items": [{_ITEM}], "items": [{_ITEM}, {_ITEM}]}}', False),
    "without an end": (f'{{"items": [{_ITEM}', False),
    "with a comma too few": (f'{{"items": [{_ITEM}] "name": "x"}}', False),
    "that are an object": (f'{{"items": {{"0": {_ITEM}}}}}', False),
    "within a list": (f'{{"items": [[{_ITEM}]]}}', True),
    "with brackets behind": (f'{{"items": [{_ITEM}]}}]]]}}}}', False),
    "with an object behind": (f'{{"items": [{_ITEM}]}}{{"items": []}}', False),
    "that are texts of brackets": ('{"items": ["]", "[", "{", "\\"", "\\\\"]}', True),
    "behind others": (f'{{"x": {{"items": [1]}}, "items": [{_ITEM}]}}', False),
    "in the defaults": (f'{{"defaults": {{"items": []}}, "items": [{_ITEM}]}}', False),
    "by the hundred, broken": ('{"items": [' + ",".join(["{}"] * 300) + "]}", True),
    "too many": ('{"items": [' + "1," * 4_000_000 + "1]}", False),
    "a hundred thousand deep": ('{"items": [' + "[" * 100_000 + "]" * 100_000 + "]}", False),
    "of brackets": ('{"items": [' + "[" * 8_000_000, False),
    "of many values": ('{"items": [{"webhook_events": [' + "1," * 400_000 + "1]}]}", False),
    "with many values beside": ('{"items": [{}], "defaults": {"webhook_events": [' + "1," * 2_000_000 + "1]}}", False),
    "with a lone surrogate": (f'{{"items": [{_ITEM}], "all_or_nothing": true, "name": "\\ud800"}}', False),
}


@cache
def _masses() -> dict[str, bytes]:
    """A parser that judges each of these values would take gigabytes and minutes."""
    return {
        "many events": b'{"webhook_events":[' + b"1," * 2_000_000 + b"1]}",
        "many references": b'{"reference_images":[' + b"{}," * 1_000_000 + b"1]}",
        "many options": b'{"options":{' + b",".join(b'"%x":[]' % n for n in range(300_000)) + b"}}",
        "many texts for one": b'{"prompt":[' + b'"",' * 1_000_000 + b"1]}",
        "many keys": b'{"a": 1,' + b",".join(b'"k%d": 1' % n for n in range(100_000)) + b"}",
    }


@cache
def _not_json() -> dict[str, bytes]:
    return {
        "arrays": b"[" * 100_000,
        "closed arrays": b"[" * 100_000 + b"]" * 100_000,
        "objects": b'{"a":' * 100_000,
        "brackets in a field": b'{"metadata":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
        "not UTF-8": b'{"prompt": "\xff\xfe\xc3\x28"}',
        "surrogates as bytes": b'{"prompt": "\xed\xa0\x80"}',
        "overlong": b'{"prompt": "\xc0\x80"}',
        "a byte order mark": b'\xef\xbb\xbf{"prompt": "x"}',
        "UTF-16": '{"prompt": "x"}'.encode("utf-16"),
        "a thousand times the same key": b"{" + b",".join([b'"prompt": "x"'] * 1_000) + b"}",
        "a key of 1 MB": b'{"' + b"k" * 1_000_000 + b'": 1}',
        "a quote without end": b'{"prompt": "' + b"\\" * 9_999,
        "quotes": b'{"prompt": "' + b'\\"' * 300_000 + b'"}',
        "text behind": b'{"prompt": "x"} garbage',
        "zeros": bytes(1_000),
        "a number": b"9" * 100_000,
        "null": b"null",
        "a form": b"prompt=x&image_url=y",
        "xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00",
    }


def part(disposition: str, data: bytes, more: str = "") -> bytes:
    """One part of a form whose boundary is `b`."""
    return f"--b\r\nContent-Disposition: form-data; {disposition}\r\n{more}\r\n".encode() + data + b"\r\n"


@cache
def _broken_forms() -> dict[str, tuple[bytes, str, tuple[str, ...]]]:
    """Bodies, their content types, and the routes that have to take them all the same."""
    image = part('name="image"; filename="a"', PICTURE)
    good, end = image + part('name="prompt"', b"make it black and white"), b"--b--\r\n"
    kinds = {
        "with another boundary": "multipart/form-data; boundary=c",
        "without a boundary": "multipart/form-data",
        "with an empty boundary": 'multipart/form-data; boundary=""',
        "with a boundary of 71": "multipart/form-data; boundary=" + "b" * 71,
        "with two boundaries": "multipart/form-data; boundary=c; boundary=b",
        "with a boundary that is a pattern": 'multipart/form-data; boundary=".*"',
    }
    refused = {
        "with half of the boundary": good[:-2] + b"--" + end,
        "without an end": good,
        "cut in the picture": good[: len(good) // 3],
        "cut in a header": b"--b\r\nContent-Dispo",
        "empty": b"",
        "with nothing but an end": end,
        "with line feeds": good.replace(b"\r\n", b"\n") + end,
        "in a form": part('name="image"', good + end, "Content-Type: multipart/mixed; boundary=b\r\n") + end,
        "with 3 000 parts": b"".join(part(f'name="k{n}"', b"") for n in range(3_000)) + end,
        "with 12 000 files": b"".join(part(f'name="f"; filename="{n}"', b"x") for n in range(12_000)) + end,
        "with a hundred pictures": image * 100 + end,
        "with boundaries only": b"--b\r\n" * 50_000,
        "with dashes only": b"\r\n--" * 50_000,
        "with a header of 9 kB": part('name="image"; filename="' + "x" * 9_000 + '"', PICTURE) + end,
        "with a header without end": b"--b\r\n" + b"X: y\r\n" * 100_000,
        "with a hundred headers": part('name="prompt"', b"x", "X-Y: z\r\n" * 100) + end,
        "with a part without name": part("", b"x") + end,
        "with an empty name": part('name=""', b"x") + end,
        "with another disposition": b"--b\r\nContent-Disposition: attachment; name=x\r\n\r\ny\r\n" + end,
        "without dispositions": b"--b\r\n\r\ny\r\n" + end,
        "with a transfer encoding": part('name="image"; filename="a"', PICTURE, "Content-Transfer-Encoding: base64\r\n") + end,
        "with a name that is not UTF-8": b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n' + end,
        "with text that is not UTF-8": good + part('name="search_prompt"', b"\xff\xfe") + end,
        "with text of 2 MB": good + part('name="search_prompt"', b"x" * 2_000_000) + end,
        "with zeros in a name": part('name="pro\0mpt"', b"x") + end,
        "with quotes never closed": part('name="' + '\\"' * 3_000, b"x") + end,
        "with many parameters": part("; ".join(f'a{n}="{n}"' for n in range(900)), b"x") + end,
        "with a way up": part('name="files"; filename="../../../etc/passwd"', PICTURE) + end,
    }
    # The preamble and the epilogue of a form say nothing.
    taken = {"behind a megabyte": b"x" * 1_000_000 + b"\r\n" + good + end, "before a megabyte": good + end + b"x" * 1_000_000}
    forms: dict[str, tuple[bytes, str, tuple[str, ...]]] = {name: (good + end, kind, ()) for name, kind in kinds.items()}
    forms |= {name: (data, FORM, ()) for name, data in refused.items()}
    forms |= {name: (data, FORM, ("/process",)) for name, data in taken.items()}
    return forms | {f"with a manifest {name}": (data + end, FORM, paths) for name, (data, paths) in _manifests().items()}


def _manifests() -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """A batch whose pictures are missing or broken is taken: its items fail."""
    batch = ("/batches",)
    line = json.dumps({**WISH, "image_base64": None, "image_id": "file:a.png"}).encode() + b"\n"
    manifest, file = part('name="manifest"', line), part('name="f"; filename="a.png"', PICTURE)
    return {
        "and its file": (manifest + file, batch),
        "twice": (manifest * 2, ()),
        "and names twice": (manifest + file * 2, ()),
        "and no file": (manifest, batch),
        "and a broken file": (manifest + part('name="f"; filename="a.png"', PICTURE[:90]), batch),
        "and a file with a way up": (manifest + part('name="f"; filename="../a.png"', PICTURE), batch),
        "and a file with zeros": (manifest + part('name="f"; filename="a\0.png"', PICTURE), batch),
        "and an encoded name": (manifest + part("name=\"f\"; filename*=UTF-8''a.png", PICTURE), ()),
        "that is a picture": (part('name="manifest"; filename="m"', PICTURE), batch),
        "that is deep": (part('name="manifest"; filename="m"', b'{"items": [' + b"[" * 100_000), batch),
        "that is empty": (part('name="manifest"; filename="m"', b""), ()),
        "after a name of 256": (part(f'name="f"; filename="{"x" * 256}"', PICTURE) + manifest, ()),
    }
