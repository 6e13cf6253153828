"""Painting a mask: by pointer and keys, and what is sent of it."""

import io

from PIL import Image
from playwright.async_api import Locator, expect

from tests.pictures import encoded, photo
from tests.studio.conftest import Studio

_SIZE = (600, 400)


async def painting(studio: Studio) -> Locator:
    """The canvas of an inpainting edit."""
    await studio.open()
    await studio.add_picture(buffer=encoded(photo("coffee.png", _SIZE).convert("RGB"), "PNG"))
    await studio.page.get_by_role("radio", name="Inpaint").check()
    canvas = studio.page.locator("es-mask-editor canvas")
    await expect(canvas).to_be_visible()
    return canvas


async def drag(studio: Studio, canvas: Locator, start: tuple[float, float], end: tuple[float, float], *, steps: int = 4) -> None:
    """From one place to another, in picture pixels."""
    box = await canvas.bounding_box()
    assert box is not None
    scale = box["width"] / _SIZE[0]
    mouse = studio.page.mouse
    await mouse.move(box["x"] + start[0] * scale, box["y"] + start[1] * scale)
    await mouse.down()
    await mouse.move(box["x"] + end[0] * scale, box["y"] + end[1] * scale, steps=steps)
    await mouse.up()


async def sent_mask(studio: Studio) -> Image.Image:
    """The mask that goes with a run."""
    await studio.page.get_by_label("Instruction").fill("leaves")
    await expect(studio.run).to_be_enabled()
    await studio.run.click()
    await studio.job_id()
    (sent,) = studio.service.requests("/process")
    assert sent.body["mask_mode"] == "white_is_edit"
    return Image.open(io.BytesIO(sent.files["mask"]))


async def test_a_stroke_is_white_without_gaps_and_all_else_is_black(studio: Studio) -> None:
    canvas = await painting(studio)
    await drag(studio, canvas, (100, 200), (500, 200), steps=1)
    await expect(studio.page.locator("es-mask-tools")).to_contain_text("will change")
    mask = (await sent_mask(studio)).convert("RGB")
    assert mask.size == _SIZE
    assert {colour for _, colour in mask.getcolors()} == {(0, 0, 0), (255, 255, 255)}
    assert all(mask.getpixel((x, 200)) == (255, 255, 255) for x in range(100, 500))
    left, top, right, bottom = mask.convert("L").getbbox()
    assert abs(left - 70) <= 2
    assert abs(right - 530) <= 2
    assert abs(top - 170) <= 2
    assert abs(bottom - 230) <= 2


async def test_erase_undo_redo_and_invert_do_what_they_say(studio: Studio) -> None:
    canvas = await painting(studio)
    tools = studio.page.get_by_role("toolbar", name="Mask")
    await drag(studio, canvas, (100, 100), (500, 100))
    await drag(studio, canvas, (100, 300), (500, 300))
    await tools.get_by_role("button", name="Undo").click()
    await tools.get_by_role("button", name="Redo").click()
    await tools.get_by_role("button", name="Undo").click()
    await tools.get_by_role("button", name="Erase").click()
    await drag(studio, canvas, (300, 60), (300, 140))
    await tools.get_by_role("button", name="Invert").click()
    mask = (await sent_mask(studio)).convert("L")
    assert [mask.getpixel(at) for at in ((150, 100), (300, 100), (450, 100), (300, 300))] == [0, 255, 0, 255]


async def test_keys_paint_too(studio: Studio) -> None:
    canvas = await painting(studio)
    await canvas.focus()
    await studio.page.keyboard.down(" ")
    for _ in range(10):
        await studio.page.keyboard.press("Shift+ArrowRight")
    await studio.page.keyboard.up(" ")
    await expect(studio.page.locator("es-mask-tools")).to_contain_text("% will change")
    await studio.page.keyboard.press("e")
    await expect(studio.page.get_by_role("button", name="Erase")).to_have_attribute("aria-pressed", "true")
    await studio.page.keyboard.press("Control+z")
    await expect(studio.page.locator("es-mask-tools")).to_contain_text("Paint what changes")
    await studio.page.keyboard.press("Escape")
    await expect(studio.page.locator("#stage")).to_be_focused()


async def test_an_empty_and_a_full_mask_cannot_be_run(studio: Studio) -> None:
    await painting(studio)
    await studio.page.get_by_label("Instruction").fill("leaves")
    why = studio.page.locator("es-run-bar .why")
    await expect(why).to_have_text("Paint where it is to change to continue")
    await studio.page.get_by_role("button", name="Select everything").click()
    await expect(why).to_contain_text("The mask covers everything")


async def test_a_turned_photograph_is_upright_and_so_is_its_mask(studio: Studio) -> None:
    await studio.open()
    image = photo("coffee.png", _SIZE).convert("RGB")
    exif = image.getexif()
    exif[0x0112] = 6
    await studio.add_picture(name="turned.jpg", mimeType="image/jpeg", buffer=encoded(image, "JPEG", exif=exif))
    await expect(studio.page.locator(".stage-about")).to_contain_text("400 × 600")
    await studio.page.get_by_role("radio", name="Erase").check()
    await studio.page.get_by_role("button", name="Select everything").click()
    canvas = studio.page.locator("es-mask-editor canvas")
    assert await canvas.evaluate("canvas => [canvas.width, canvas.height]") == [400, 600]


async def test_the_mask_stays_with_another_kind_and_goes_with_the_picture(studio: Studio) -> None:
    canvas = await painting(studio)
    await drag(studio, canvas, (100, 100), (500, 300))
    said = await studio.page.locator("es-mask-tools .share").inner_text()
    await studio.page.get_by_role("radio", name="Erase").check()
    await expect(studio.page.locator("es-mask-tools .share")).to_have_text(said)
    await studio.page.get_by_role("button", name="Remove the picture").click()
    await studio.add_picture()
    await expect(studio.page.locator("es-mask-tools .share")).to_have_text("Paint what changes")
