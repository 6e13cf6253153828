import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.simulator.faults import Fault, FaultCounts, FaultUnknown, parse, split_prompt


def test_a_tail_is_cut_off_and_read() -> None:
    prompt, faults = split_prompt("make it blue [[sim: 429*2, slow=3s, 5xx, moderated, poll-503*1]]")
    assert prompt == "make it blue"
    assert faults == (Fault("429", None, 2), Fault("slow", 3.0), Fault("503"), Fault("1200"), Fault("poll-503", None, 1))


@given(st.text().filter(lambda text: "[[sim:" not in text))
def test_a_prompt_without_a_tail_stays_as_it_is(prompt: str) -> None:
    assert split_prompt(prompt) == (prompt, ())


@pytest.mark.parametrize("text", ["429x", "slow=", "nonsense", "99", "12345", "slow=3s*", "poll-200"])
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(FaultUnknown):
        parse(text)


def test_counted_answers_come_first_and_one_at_a_time() -> None:
    counts, faults = FaultCounts(), parse("429*2, 503*1, truncated*1, slow=1s")
    struck = [[fault.name for fault in counts.strike(faults, "key")] for _ in range(5)]
    assert struck == [["429"], ["429"], ["503"], ["truncated", "slow"], ["slow"]]


def test_every_key_is_counted_by_itself() -> None:
    counts, faults = FaultCounts(), parse("429*1")
    assert [len(counts.strike(faults, key)) for key in "abab"] == [1, 1, 0, 0]
