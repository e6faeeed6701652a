import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_service.engine.spans import Spans


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=60))
def test_spans_never_overlap_and_gaps_are_found(moves: list[tuple[bool, int]]) -> None:
    spans, held = Spans(40), {}
    for takes, length in moves:
        if takes:
            first = spans.take(length)
            busy = {row for begin, size in held.items() for row in range(begin, begin + size)}
            fits = [at for at in range(41 - length) if not busy & set(range(at, at + length))]
            assert first == (fits[0] if fits else None)
            if first is not None:
                held[first] = length
        elif held:
            first = list(held)[length % len(held)]
            del held[first]
            spans.give_back(first)
        assert spans.taken == sum(held.values())
        assert spans.used == max((begin + size for begin, size in held.items()), default=0)


def test_wrong_use() -> None:
    spans = Spans(4)
    with pytest.raises(ValueError, match="at least one row"):
        spans.take(0)
    spans.take(2)
    with pytest.raises(KeyError):
        spans.give_back(1)
