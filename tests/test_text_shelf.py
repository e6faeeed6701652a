import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_service.engine.resident import DeviceFull
from motion_service.mdm_adapter.text_shelf import TextShelf


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=60))
def test_texts_in_use_keep_their_entries_and_no_two_share_one(size: int, orders: list[tuple[bool, int]]) -> None:
    shelf = TextShelf(size)
    used: dict[int, int] = {}
    held: dict[int, tuple[int, ...]] = {}
    for take, text in orders:
        if take:
            num = 1 + text % 3
            try:
                entries, is_new = shelf.take(text, num)
            except DeviceFull:
                assert text not in held and num > size - sum(len(held[t]) for t, n in used.items() if n)
                continue
            assert len(set(entries)) == num and min(entries) >= 0 and max(entries) < size
            assert is_new or held[text] == entries
            if used.get(text):
                assert not is_new and held[text] == entries
            held = {other: at for other, at in held.items() if not {*at} & {*entries}} | {text: entries}
            used[text] = used.get(text, 0) + 1
        elif used.get(text):
            shelf.give_back(text)
            used[text] -= 1
    in_use = [entry for text, count in used.items() if count for entry in held[text]]
    assert len(set(in_use)) == len(in_use)


def test_the_least_recently_used_goes_first() -> None:
    shelf = TextShelf(2)
    first, _ = shelf.take("a")
    second, _ = shelf.take("b")
    shelf.give_back("a")
    shelf.give_back("b")
    assert shelf.take("a") == (first, False)
    assert shelf.take("c") == (second, True)
    with pytest.raises(DeviceFull):
        shelf.take("b")
    shelf.give_back("a")
    shelf.give_back("c")
    assert sorted(shelf.take("long", 2)[0]) == [0, 1]


def test_what_was_not_written_is_forgotten() -> None:
    shelf = TextShelf(1)
    shelf.take("a")
    shelf.forget("a")  # in use: stays
    shelf.give_back("a")
    shelf.forget("a")
    assert shelf.take("a")[1]
