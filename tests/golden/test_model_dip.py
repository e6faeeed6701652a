"""model_dip.npz: single predictions of the decoder with a prefix."""

from tests.golden import golden_checks

NAME = "model_dip.npz"


def test_predictions() -> None:
    golden_checks.check_predictions(NAME)


def test_guided_predictions() -> None:
    golden_checks.check_guidance(NAME)


def test_masks_that_hide_nothing() -> None:
    golden_checks.check_masks_that_hide_nothing(NAME)
