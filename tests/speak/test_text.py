"""How a text is read: morae, phrases, lengths, actions at their places, beats on a voice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from motion_service.speak.beats import find_beats
from motion_service.speak.envelope import read_envelope
from motion_service.speak.morae import count_morae, count_syllables
from motion_service.speak.phrases import estimate_seconds, text_to_spoken

REPLY = "こんにちは！（お辞儀）今日はいい天気ですね。散歩に行きましょう。"


@pytest.mark.parametrize(
    ("word", "morae"),
    [("きょう", 2), ("ちょっと", 3), ("東京", 4), ("コンピューター", 6), ("今日", 2), ("行きます", 4), ("話す", 3)]
    + [("大丈夫", 5), ("質問", 4), ("120円", 7)],
)  # fmt: skip
def test_morae(word: str, morae: int) -> None:
    assert count_morae(word) == morae


@pytest.mark.parametrize(
    ("word", "syllables"), [("hello", 2), ("beautiful", 3), ("make", 1), ("walked", 1), ("wanted", 2), ("table", 2)]
)
def test_syllables(word: str, syllables: int) -> None:
    assert count_syllables(word) == syllables


@settings(deadline=None)
@given(st.text(max_size=60), st.floats(0.3, 30))
def test_any_text_has_phrases_in_order_within_its_length(text: str, seconds: float) -> None:
    spoken = text_to_spoken(text, seconds)
    assert spoken.seconds == seconds
    times = [time for phrase in spoken.phrases for time in (phrase.start, phrase.end)]
    assert times == sorted(times) and all(-1e-6 <= time <= seconds + 1e-6 for time in times)
    assert all(0 <= act.start and act.seconds > 0 for act in spoken.acts)


@settings(deadline=None)
@given(st.text("あいうえおかきくけこ。、", max_size=40), st.text("さしすせそ", min_size=1, max_size=20))
def test_more_words_take_longer(text: str, more: str) -> None:
    assume(not text_to_spoken(text).acts)
    assert estimate_seconds(text + more) >= estimate_seconds(text)


def test_a_stage_direction_is_acted_at_its_place_and_not_said() -> None:
    spoken = text_to_spoken(REPLY)
    assert [act.plan.action for act in spoken.acts] == ["bow"]
    assert not any("お辞儀" in phrase.text for phrase in spoken.phrases)
    assert spoken.acts[0].start >= spoken.phrases[0].end - 1e-6
    said = text_to_spoken("では、手を振りますね。また明日！")
    assert [act.plan.action for act in said.acts] == ["wave"]
    assert text_to_spoken("今日は手が空いています。").acts == ()


def _voice(seconds: float, rate: float, syllables: list[float]) -> np.ndarray:
    """Loudness of a voice with a syllable at each of these times."""
    time = np.arange(round(seconds * rate)) / rate
    return sum(np.exp(-0.5 * ((time - at) / 0.05) ** 2) for at in syllables) + np.zeros_like(time)  # type: ignore[no-any-return]


@settings(deadline=None)
@given(st.sampled_from([20.0, 50.0, 100.0]), st.integers(0, 2**32))
def test_beats_fall_on_peaks_of_the_voice(rate: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    syllables = list(np.cumsum(random.uniform(0.25, 0.6, 12)))
    envelope = read_envelope(_voice(syllables[-1] + 0.4, rate, syllables), rate)
    assert envelope is not None
    spoken = text_to_spoken(REPLY, None, envelope)
    beats = find_beats(spoken.phrases, envelope, 1.0, random)
    assert beats and abs(spoken.seconds - syllables[-1]) < 0.25
    off = [min(abs(beat.time - at) for at in syllables) for beat in beats]
    assert np.mean(np.array(off) <= 0.1) >= 0.9


def test_phrases_snap_to_the_pauses_of_the_voice() -> None:
    syllables = [0.2, 0.5, 0.8, 1.1, 2.2, 2.5, 2.8, 3.1, 3.4]
    envelope = read_envelope(_voice(3.8, 50.0, syllables), 50.0)
    spoken = text_to_spoken("おはよう、今日もいい天気です。", None, envelope)
    assert spoken.phrases[0].end == pytest.approx(1.25, abs=0.15)
    assert spoken.phrases[1].start == pytest.approx(2.05, abs=0.15)


def test_silence_is_no_voice() -> None:
    assert read_envelope(np.zeros(100), 50.0) is None
