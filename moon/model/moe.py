"""The guided mixture of experts (MOON): the kind of a token decides, or helps decide, which expert computes it.

Category tokens go to the category expert and attribute tokens to the attribute expert, by rule; every other token goes
to the top k of the general experts by a learned softmax router:

    h' = sum_{e in TopK(g)} g~_e(h) FFN_e(h)      for title and visual tokens, g~ renormalised over the chosen
    h' = FFN_category(h)                          for category tokens
    h' = FFN_attribute(h)                         for attribute tokens

Experts start as copies of the dense feed-forward they replace, so that before training the layer equals it. [R]: the
papers give neither the number of general experts nor k nor the balance weight.

Shapes: T tokens, D width, F feed-forward width, E experts (general, then category, then attribute), K chosen, A pairs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from moon.model.item import TokenType


class GuidedMoE(nn.Module):
    """Replaces the gated feed-forward of a decoder layer.

    ``token_types`` must be set before each forward; `guide` does it from the layer's keyword arguments. After a
    forward, ``balance_loss`` (scalar) and ``load_E`` (share of token-expert pairs) describe the routing.
    """

    def __init__(self, width: int, feed_forward: int, general_experts: int, experts_per_token: int) -> None:
        super().__init__()
        self.general_experts, self.experts_per_token = general_experts, experts_per_token
        self.router = nn.Linear(width, general_experts, bias=False)
        self.gate_up_EGD = nn.Parameter(torch.empty(general_experts + 2, 2 * feed_forward, width))
        self.down_EDF = nn.Parameter(torch.empty(general_experts + 2, width, feed_forward))
        self.token_types: Tensor | None = None
        self.balance_loss: Tensor | None = None
        self.load_E: Tensor | None = None

    @torch.no_grad()
    def copy_dense(self, dense: nn.Module) -> None:
        """Makes every expert a copy of a dense gated feed-forward (``gate_proj``, ``up_proj``, ``down_proj``)."""
        gate_up = torch.cat([dense.gate_proj.weight, dense.up_proj.weight])  # type: ignore[list-item, union-attr]
        self.gate_up_EGD.copy_(gate_up.expand_as(self.gate_up_EGD))
        self.down_EDF.copy_(dense.down_proj.weight.expand_as(self.down_EDF))  # type: ignore[operator, union-attr]

    def forward(self, hidden_BSD: Tensor) -> Tensor:
        """Maps (B, S, D) to (B, S, D); padding tokens are computed by no expert and come out as zero."""
        assert self.token_types is not None, "token types reach the experts through the decoder layer"
        types_T = self.token_types.reshape(-1)
        hidden_TD = hidden_BSD.reshape(-1, hidden_BSD.shape[-1])
        token_A, expert_A, weight_A = self._route(hidden_TD, types_T)

        order_A = torch.argsort(expert_A, stable=True)
        token_A, weight_A = token_A[order_A], weight_A[order_A]
        sizes = torch.bincount(expert_A, minlength=len(self.gate_up_EGD))
        chunks = hidden_TD[token_A].split(sizes.tolist())
        computed_AD = torch.cat([self._expert(expert, chunk) for expert, chunk in enumerate(chunks) if len(chunk)])
        out_TD = torch.zeros_like(hidden_TD)
        out_TD = out_TD.index_add(0, token_A, computed_AD * weight_A[:, None].to(computed_AD.dtype))
        self.load_E = sizes / sizes.sum().clamp(min=1)
        return out_TD.view_as(hidden_BSD)

    def _route(self, hidden_TD: Tensor, types_T: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Token, expert and weight of every token-expert pair; sets the balance loss of the routed tokens."""
        general_T = types_T.ne(TokenType.PADDING) & types_T.ne(TokenType.CATEGORY) & types_T.ne(TokenType.ATTRIBUTE)
        tokens_G = general_T.nonzero().squeeze(1)
        probs_GE = functional.softmax(self.router(hidden_TD[tokens_G]).float(), dim=-1)
        top_GK, chosen_GK = probs_GE.topk(self.experts_per_token, dim=-1)
        weight_GK = top_GK / top_GK.sum(-1, keepdim=True)
        self.balance_loss = balance_loss(probs_GE, chosen_GK)

        tokens = [tokens_G.repeat_interleave(self.experts_per_token)]
        experts, weights = [chosen_GK.flatten()], [weight_GK.flatten()]
        for offset, kind in enumerate((TokenType.CATEGORY, TokenType.ATTRIBUTE)):
            guided = types_T.eq(kind).nonzero().squeeze(1)
            tokens.append(guided)
            experts.append(torch.full_like(guided, self.general_experts + offset))
            weights.append(torch.ones(len(guided), dtype=weight_GK.dtype, device=guided.device))
        return torch.cat(tokens), torch.cat(experts), torch.cat(weights)

    def _expert(self, expert: int, hidden_TD: Tensor) -> Tensor:
        gate_TF, up_TF = functional.linear(hidden_TD, self.gate_up_EGD[expert]).chunk(2, dim=-1)
        return functional.linear(functional.silu(gate_TF) * up_TF, self.down_EDF[expert])


def balance_loss(probs_GE: Tensor, chosen_GK: Tensor) -> Tensor:
    """The load-balance loss of Switch Transformers over the routed tokens: ``E sum_e f_e P_e``; 1 when balanced.

    ``f_e`` is the share of choices that fell on expert e and ``P_e`` the mean router probability. No routed token
    gives zero.
    """
    experts = probs_GE.shape[-1]
    if not len(probs_GE):
        return probs_GE.sum()
    share_E = functional.one_hot(chosen_GK, experts).float().mean(dim=(0, 1))
    return experts * (share_E * probs_GE.mean(0)).sum()


def guide(layer: nn.Module, moe: GuidedMoE) -> None:
    """Puts ``moe`` in place of a decoder layer's feed-forward and hands it the ``token_types`` of each call.

    A hook on the layer rather than a subclass of it: it serves every backbone, and a checkpointed layer that is
    recomputed in the backward pass hands over the types of that very call again.
    """
    layer.mlp = moe
    layer.register_forward_pre_hook(_hand_over, with_kwargs=True)


def _hand_over(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    layer.mlp.token_types = kwargs.pop("token_types")  # type: ignore[union-attr]
    return args, kwargs
