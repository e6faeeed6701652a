"""model_dip_target_split.npz: DiP told where a window shall end, target encoder "split"."""

from tests.golden import golden_targets

NAME = "model_dip_target_split.npz"


def test_target_encoding() -> None:
    golden_targets.check_encoding(NAME)


def test_predictions() -> None:
    golden_targets.check_target_predictions(NAME)


def test_no_target() -> None:
    golden_targets.check_no_target(NAME)
