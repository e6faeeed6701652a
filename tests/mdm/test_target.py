import pytest
import torch
from torch import Tensor, nn

from motion_service.mdm.target import GOALS, MultiTarget, asked_rows, new_target_encoder

NOTHING = torch.zeros(2, 8).bool()


def encoder(kind: str) -> nn.Module:
    torch.manual_seed(3)
    return new_target_encoder(kind, 16, 1).requires_grad_(False)


def target() -> tuple[Tensor, Tensor]:
    asked = asked_rows([["pelvis"], ["head", "left_wrist"]], [True, False])
    return torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(4)) * asked[..., None], asked


def test_rows_follow_the_names() -> None:
    asked = asked_rows([["head", "pelvis"], []], torch.tensor([False, True]))
    assert [[goal for goal, is_asked in zip(GOALS, row, strict=True) if is_asked] for row in asked.tolist()] == [
        ["pelvis", "head"],
        ["heading"],
    ]
    assert asked_rows([], []).shape == (0, 8)


def test_unknown_names_and_uneven_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="got tail"):
        asked_rows([["tail", "head"]], [False])
    with pytest.raises(ValueError, match="for 1 samples, headings for 2"):
        asked_rows([["head"]], [False, True])


@pytest.mark.parametrize("kind", ["multi", "single", "split"])
def test_every_goal_asked_for_matters(kind: str) -> None:
    encode, (places, asked) = encoder(kind), target()
    usual = encode(places, asked)
    assert usual.shape == (2, 16)
    for sample, row in asked.nonzero().tolist():
        moved, unasked = places.clone(), asked.clone()
        moved[sample, row] += 1
        unasked[sample, row] = False
        for change in (encode(moved, asked), encode(places * unasked[..., None], unasked)):
            assert float((change - usual)[sample].abs().max()) > 1e-4
            assert torch.equal(change[1 - sample], usual[1 - sample])


@pytest.mark.parametrize(("kind", "is_zero"), [("multi", True), ("single", False), ("split", False)])
def test_nothing_asked_is_zero_for_one_encoder_only(kind: str, is_zero: bool) -> None:
    got = encoder(kind)(torch.zeros(2, 8, 3), NOTHING)
    assert bool((got == 0).all()) is is_zero


def test_places_nobody_asked_for_do_not_reach_the_multi_encoder() -> None:
    encode, (places, asked) = encoder("multi"), target()
    loud = places.masked_fill(~asked[..., None], 1e3)
    torch.testing.assert_close(encode(loud, asked), encode(places, asked))


def test_multi_encoder_is_a_weighted_mean_over_all_goals() -> None:
    encode, (places, asked) = encoder("multi"), target()
    assert isinstance(encode, MultiTarget)
    encode.target_all_loc_emb.weights[:] = torch.arange(1.0, 9.0)
    expected = torch.zeros(2, 16)
    for sample, row in asked.nonzero().tolist():
        expected[sample] += (row + 1) / 36 * encode.target_loc_emb[GOALS[row]](places[sample, row])
    torch.testing.assert_close(encode(places, asked), expected)
