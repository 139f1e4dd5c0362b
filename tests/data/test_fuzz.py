"""A few hundred damaged and odd inputs; `make fuzz` tries ten thousand."""

import fuzz


def test_damaged_inputs_end_in_a_data_set_or_one_sentence():
    ends, wrong = fuzz.fuzz(500, seed=1)
    assert wrong == []
    accepted = sum(times for (_, end), times in ends.items() if end == "accepted")
    assert 20 < accepted < 300  # the inputs are neither all sound nor all hopeless
    assert {reader for reader, end in ends if end == "one sentence"} == {reader.__name__ for reader in fuzz.READERS}
