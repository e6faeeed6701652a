"""diffusion_loop_enc_clip.npz: whole runs of ancestral sampling."""

from tests.golden import golden_checks

NAME = "diffusion_loop_enc_clip.npz"


def test_recorded_noise() -> None:
    golden_checks.check_loop(NAME)


def test_official_seed() -> None:
    golden_checks.check_seed_10(NAME)
