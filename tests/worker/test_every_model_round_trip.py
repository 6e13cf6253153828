"""Random pictures come back from every model of the catalogue as large as they were, and nothing in them has moved."""

import random
from collections import Counter
from pathlib import Path

import pytest

from shared.edit import Operation
from shared.errors import NoCapableModel
from tests.model_trips import MODELS, Trips

CHUNKS, PICTURES_A_CHUNK = 8, 25  # Chunks, so that several test processes can share the work.
LARGE_A_CHUNK = 3  #: so many of them at least also where a model takes large pictures only


@pytest.mark.parametrize("chunk", range(CHUNKS))
async def test_two_hundred_random_pictures_come_back_from_every_model_in_the_size_they_had(tmp_path: Path, chunk: int) -> None:
    """Any side, aspect, orientation and mode, in any format; each lies where it lay, also on the larger canvas of an outpaint."""
    chance, done, came_back = random.Random(chunk), Counter[str](), Counter[str]()
    for _ in range(10 * PICTURES_A_CHUNK):
        trips = Trips(tmp_path, chance)
        for model in (model for model in MODELS if done[model.id] < PICTURES_A_CHUNK):
            try:
                came_back[model.id] += await trips.there_and_back(model)
            except NoCapableModel:
                assert model.operations == (Operation.OUTPAINT,)  # Refused before it is paid for; others are drawn in its place.
            else:
                done[model.id] += 1
        if min(done[model.id] for model in MODELS) == PICTURES_A_CHUNK:
            break
    assert done == {model.id: PICTURES_A_CHUNK for model in MODELS}
    assert min(came_back.values()) >= LARGE_A_CHUNK, came_back
