"""model_dec_bert_concat.npz: single predictions of the decoder with a token of time before those of DistilBERT."""

from tests.golden import golden_checks

NAME = "model_dec_bert_concat.npz"


def test_predictions() -> None:
    golden_checks.check_predictions(NAME)


def test_guided_predictions() -> None:
    golden_checks.check_guidance(NAME)


def test_masks_that_hide_nothing() -> None:
    golden_checks.check_masks_that_hide_nothing(NAME)
