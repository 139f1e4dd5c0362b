"""A few hundred damaged and odd inputs; `make fuzz` tries ten thousand."""

import fuzz


def test_damaged_inputs_end_in_a_data_set_or_one_sentence():
    ends, wrong = fuzz.fuzz(450, seed=1)
    assert wrong == []
    for reader in fuzz.READERS:  # the inputs are neither all sound nor all hopeless
        assert ends[reader.__name__, "one sentence"] > 5
        assert ends[reader.__name__, "accepted"] > 0
