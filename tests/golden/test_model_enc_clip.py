"""model_enc_clip.npz: single predictions of the encoder with one CLIP token."""

from tests.golden import golden_checks

NAME = "model_enc_clip.npz"


def test_predictions() -> None:
    golden_checks.check_predictions(NAME)


def test_guided_predictions() -> None:
    golden_checks.check_guidance(NAME)


def test_masks_that_hide_nothing() -> None:
    golden_checks.check_masks_that_hide_nothing(NAME)


def test_one_text_serves_all() -> None:
    golden_checks.check_one_text_serves_all(NAME)
