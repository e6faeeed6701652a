import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_service.engine.resident import DeviceFull
from motion_service.mdm_adapter.text_shelf import TextShelf


@given(st.integers(1, 4), st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=60))
def test_texts_in_use_keep_their_entry_and_no_two_share_one(size: int, orders: list[tuple[bool, int]]) -> None:
    shelf = TextShelf(size)
    used: dict[int, int] = {}
    entries: dict[int, int] = {}
    for take, text in orders:
        if take:
            try:
                entry, is_new = shelf.take(text)
            except DeviceFull:
                assert text not in entries and len([t for t, n in used.items() if n]) == size
                continue
            assert is_new or entries[text] == entry
            if used.get(text):
                assert not is_new and entries[text] == entry
            entries = {other: at for other, at in entries.items() if at != entry} | {text: entry}
            used[text] = used.get(text, 0) + 1
            assert 0 <= entry < size
        elif used.get(text):
            shelf.give_back(text)
            used[text] -= 1
    in_use = [entries[text] for text, count in used.items() if count]
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


def test_what_was_not_written_is_forgotten() -> None:
    shelf = TextShelf(1)
    shelf.take("a")
    shelf.forget("a")  # in use: stays
    shelf.give_back("a")
    shelf.forget("a")
    assert shelf.take("a")[1]
