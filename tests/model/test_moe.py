from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from moon.model.item import TokenType
from moon.model.moe import GuidedMoE, balance_loss

WIDTH, FEED_FORWARD, GENERAL, TOP = 12, 20, 4, 2


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.up_proj = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.down_proj = nn.Linear(FEED_FORWARD, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


def moe_with(seed: int) -> GuidedMoE:
    torch.manual_seed(seed)
    moe = GuidedMoE(WIDTH, FEED_FORWARD, GENERAL, TOP)
    nn.init.normal_(moe.gate_up_EGD)
    nn.init.normal_(moe.down_EDF)
    return moe


def one_token_at_a_time(moe: GuidedMoE, hidden: Tensor, kind: int) -> Tensor:
    """The equation, read literally, for one token."""

    def expert(number: int) -> Tensor:
        gate, up = (moe.gate_up_EGD[number] @ hidden).chunk(2)
        return moe.down_EDF[number] @ (functional.silu(gate) * up)

    if kind == TokenType.PADDING:
        return torch.zeros_like(hidden)
    if kind in (TokenType.CATEGORY, TokenType.ATTRIBUTE):
        return expert(GENERAL + (kind == TokenType.ATTRIBUTE))
    probs = functional.softmax(moe.router(hidden), dim=-1)
    top, chosen = probs.topk(TOP)
    return sum((weight / top.sum()) * expert(int(number)) for weight, number in zip(top, chosen, strict=True))


@pytest.mark.parametrize("kinds", [list(TokenType), [TokenType.TITLE] * 3, [TokenType.CATEGORY] * 3])
def test_batched_equals_token_by_token(kinds: list[TokenType]) -> None:
    moe = moe_with(0)
    types = torch.tensor([kinds, kinds[::-1]])
    hidden = torch.randn(*types.shape, WIDTH)
    moe.token_types = types
    out = moe(hidden)
    for row, column in torch.cartesian_prod(*map(torch.arange, types.shape)).tolist():
        expected = one_token_at_a_time(moe, hidden[row, column], int(types[row, column]))
        torch.testing.assert_close(out[row, column], expected)
    assert moe.load_E is not None
    assert moe.load_E.sum() == pytest.approx(1)


def test_copies_of_the_dense_layer_equal_it() -> None:
    torch.manual_seed(3)
    dense, moe = Dense(), moe_with(1)
    moe.copy_dense(dense)
    types = torch.randint(1, 6, (3, 7))
    hidden = torch.randn(3, 7, WIDTH)
    moe.token_types = types
    torch.testing.assert_close(moe(hidden), dense(hidden))


def test_balance_loss_is_one_when_balanced_and_experts_when_collapsed() -> None:
    even = torch.full((8, GENERAL), 1 / GENERAL)
    chosen = torch.arange(8)[:, None] % GENERAL
    assert balance_loss(even, chosen).item() == pytest.approx(1)
    collapsed = functional.one_hot(torch.zeros(8, dtype=torch.long), GENERAL).float()
    assert balance_loss(collapsed, torch.zeros(8, 1, dtype=torch.long)).item() == pytest.approx(GENERAL)
    assert balance_loss(torch.empty(0, GENERAL), torch.empty(0, 1, dtype=torch.long)).item() == 0


def test_guided_tokens_do_not_enter_the_balance_loss() -> None:
    moe = moe_with(2)
    hidden = torch.randn(1, 6, WIDTH)
    general = torch.full((1, 6), int(TokenType.TITLE))
    general[0, 3:] = TokenType.CATEGORY
    moe.token_types = general
    moe(hidden)
    partly = moe.balance_loss
    moe.token_types = general[:, :3]
    moe(hidden[:, :3])
    torch.testing.assert_close(moe.balance_loss, partly)
