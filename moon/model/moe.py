"""The mixture of experts of MOON and MOON2.0: the kind of a token decides, or helps decide, which expert computes it.

A learned softmax router g sends a token to its top k experts, with the weights of the chosen ones scaled to sum to 1:

    h' = sum_{e in TopK(g)} G~_e(h) FFN_e(h)

``routing`` says which tokens it rules over:

* ``guided`` (MOON): title and picture tokens go to the general experts through the router, category tokens to the
  category expert and attribute tokens to the attribute expert by rule.
* ``soft`` [R]: the router knows all these experts, and the category or attribute expert's logit is raised by a
  constant for the tokens of its kind; the rest is learned.
* ``free``: no special experts; the router sends every token. The same experts without guidance.
* ``modality`` (MOON2.0): as free, with a learned matrix W* of experts by objectives. With p = softmax over m of W*,
  an item gives objective m the weight ``sum_z p_{z,m} mean_t G~_z(h_t)``, and ``(1/Z) sum_z entropy(p_z)`` keeps each
  expert to few objectives. [R]: the mean over tokens.

Experts start as copies of the dense feed-forward they replace, so that before training the layer equals it. [R]: the
papers give neither the number of general experts nor k nor the balance weight. Padding takes no part in anything.

Shapes: B items, S tokens an item, T = B S, D width, F feed-forward width, E experts (general, then category, then
attribute), K chosen, A token-expert pairs, Y token types, M objectives, L layers. In statistics E counts only the
experts that the router knows; with ``guided`` these are the general ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from moon.model.experts import expert_feed_forward
from moon.model.item import TokenType

ROUTINGS: Final = ("guided", "soft", "free", "modality")
_SPECIAL: Final = (TokenType.CATEGORY, TokenType.ATTRIBUTE)
_BY_ROUTER = -1


@dataclass(frozen=True)
class RoutingStatistics:
    """What one forward pass did with each item's routed tokens; sums, so that batches and processes can be added up."""

    probs_BE: Tensor
    """The router's probabilities, summed over tokens (float32, with gradient)."""
    choices_BE: Tensor
    """How often each expert was chosen (float32)."""
    tokens_B: Tensor
    """Number of routed tokens (float32)."""
    objective_BM: Tensor | None = None
    """Weights of the objectives, which sum to 1 (float32, with gradient); only with ``modality``."""
    sparsity: Tensor | None = None
    """Mean entropy of an expert over objectives (scalar, with gradient); only with ``modality``."""


class MixtureOfExperts(nn.Module):
    """Replaces the gated feed-forward of a decoder layer.

    ``token_types`` (B, S) must be set before each forward; `guide` does it from the layer's keyword arguments. After a
    forward, ``statistics`` describes its routing. Copies and pickles hold neither.

    Args:
        width: D.
        feed_forward: F, of each expert.
        general_experts: experts beside the category and attribute experts.
        experts_per_token: K.
        routing: one of `ROUTINGS`.
        guidance_bias: what ``soft`` adds to a logit.
        objectives: M; used only with ``modality``.

    Raises:
        ValueError: an unknown routing, more experts for each token than the router knows, or ``modality`` without
            objectives.
    """

    def __init__(
        self,
        width: int,
        feed_forward: int,
        general_experts: int,
        experts_per_token: int,
        routing: str = "guided",
        guidance_bias: float = 4.0,
        objectives: int = 0,
    ) -> None:
        super().__init__()
        if routing not in ROUTINGS:
            raise ValueError(f"routing must be one of {', '.join(ROUTINGS)}, got {routing!r}")
        self.experts = general_experts + (len(_SPECIAL) if routing in ("guided", "soft") else 0)
        self.routed_experts = general_experts if routing == "guided" else self.experts
        if experts_per_token > self.routed_experts:
            raise ValueError(
                f"experts_per_token must be at most {self.routed_experts}, the experts that {routing} routing chooses "
                f"from, got {experts_per_token}"
            )
        if routing == "modality" and objectives < 1:
            raise ValueError(f"modality routing needs the number of objectives, got {objectives}")
        self.general_experts, self.experts_per_token = general_experts, experts_per_token
        self.routing, self.guidance_bias = routing, guidance_bias
        self.router = nn.Linear(width, self.routed_experts, bias=False)
        self.gate_up_EGD = nn.Parameter(torch.empty(self.experts, 2 * feed_forward, width))
        self.down_EDF = nn.Parameter(torch.empty(self.experts, width, feed_forward))
        if routing == "modality":
            self.objective_EM = nn.Parameter(torch.empty(self.experts, objectives))
            nn.init.normal_(self.objective_EM, std=0.02)
        self.token_types: Tensor | None = None
        self.statistics: RoutingStatistics | None = None
        self._load_YE: Tensor | None = None

    @torch.no_grad()
    def copy_dense(self, dense: nn.Module) -> None:
        """Makes every expert a copy of a dense gated feed-forward (``gate_proj``, ``up_proj``, ``down_proj``)."""
        gate_up = torch.cat([dense.gate_proj.weight, dense.up_proj.weight])  # type: ignore[list-item, union-attr]
        self.gate_up_EGD.copy_(gate_up.expand_as(self.gate_up_EGD))
        self.down_EDF.copy_(dense.down_proj.weight.expand_as(self.down_EDF))  # type: ignore[operator, union-attr]

    @property
    def load_TE(self) -> Tensor:
        """Token-expert pairs since `reset_load`, token types by experts (int64); recomputed activations count again."""
        if self._load_YE is None:
            return torch.zeros(len(TokenType), self.experts, dtype=torch.long, device=self.router.weight.device)
        return self._load_YE

    def reset_load(self) -> None:
        """Starts counting ``load_TE`` anew."""
        self._load_YE = None

    def forward(self, hidden_BSD: Tensor) -> Tensor:
        """Maps (B, S, D) to (B, S, D); padding comes out as zero."""
        assert self.token_types is not None, "token types reach the experts through the decoder layer"
        types_BS = self.token_types
        probs_BSE = functional.softmax(self._logits(hidden_BSD, types_BS), dim=-1)
        top_BSK, chosen_BSK = probs_BSE.topk(self.experts_per_token, dim=-1)
        top_BSK = top_BSK / top_BSK.sum(-1, keepdim=True)
        rule_BSK = types_BS.new_tensor(self._rules())[types_BS]
        by_router_BSK = rule_BSK.eq(_BY_ROUTER)
        expert_BSK = torch.where(by_router_BSK, chosen_BSK, rule_BSK)
        weight_BSK = top_BSK.masked_fill(~by_router_BSK, 1.0)

        pairs_BYE = self._count(types_BS, expert_BSK)
        routed_BS = by_router_BSK[..., 0].float()
        self.statistics = self._statistics(
            probs_BSE, chosen_BSK, top_BSK, routed_BS, pairs_BYE.sum(1)[:, : self.routed_experts].float()
        )
        self._load_YE = self.load_TE + pairs_BYE.sum(0)

        sizes_E = pairs_BYE.sum((0, 1))
        order_A = torch.argsort(expert_BSK.flatten(), stable=True)
        order_A = order_A[: sizes_E.sum()]  # pairs of no expert are last
        out_TD = expert_feed_forward(
            hidden_BSD.reshape(-1, hidden_BSD.shape[-1]),
            order_A // self.experts_per_token,
            weight_BSK.flatten().index_select(0, order_A),
            sizes_E,
            self.gate_up_EGD,
            self.down_EDF,
        )
        return out_TD.view_as(hidden_BSD)

    def _logits(self, hidden_BSD: Tensor, types_BS: Tensor) -> Tensor:
        logits_BSE: Tensor = self.router(hidden_BSD).float()
        if self.routing != "soft":
            return logits_BSE
        bias_YE = logits_BSE.new_zeros(len(TokenType), self.experts)
        for offset, kind in enumerate(_SPECIAL):
            bias_YE[kind, self.general_experts + offset] = self.guidance_bias
        return logits_BSE + bias_YE[types_BS]

    def _rules(self) -> list[list[int]]:
        """The experts of each token type (Y, K): `_BY_ROUTER`, or a number; the number E means none."""
        rules = [[_BY_ROUTER] * self.experts_per_token for _ in TokenType]
        rules[TokenType.PADDING] = [self.experts] * self.experts_per_token
        if self.routing == "guided":
            for offset, kind in enumerate(_SPECIAL):
                rules[kind] = [self.general_experts + offset] + [self.experts] * (self.experts_per_token - 1)
        return rules

    def _count(self, types_BS: Tensor, expert_BSK: Tensor) -> Tensor:
        """Pairs of each item, token type and expert (B, Y, E)."""
        shape = len(types_BS), len(TokenType), self.experts + 1
        item_B11 = torch.arange(shape[0], device=types_BS.device)[:, None, None]
        number_BSK = (item_B11 * shape[1] + types_BS[..., None]) * shape[2] + expert_BSK
        pairs = torch.bincount(number_BSK.flatten(), minlength=shape[0] * shape[1] * shape[2])
        return pairs.view(shape)[..., : self.experts]

    def _statistics(
        self, probs_BSE: Tensor, chosen_BSK: Tensor, top_BSK: Tensor, routed_BS: Tensor, choices_BE: Tensor
    ) -> RoutingStatistics:
        probs_BE = (probs_BSE * routed_BS[..., None]).sum(1)  # no matrix product: autocast would round it
        tokens_B = routed_BS.sum(1)
        if self.routing != "modality":
            return RoutingStatistics(probs_BE, choices_BE, tokens_B)
        gates_BSE = torch.zeros_like(probs_BSE).scatter(-1, chosen_BSK, top_BSK)
        gates_BE = (gates_BSE * routed_BS[..., None]).sum(1) / tokens_B.clamp(min=1)[:, None]
        log_EM = functional.log_softmax(self.objective_EM.float(), dim=-1)
        entropy_E = -(log_EM.exp() * log_EM).sum(-1)
        objective_BM = (gates_BE[..., None] * log_EM.exp()).sum(1)
        return RoutingStatistics(probs_BE, choices_BE, tokens_B, objective_BM, entropy_E.mean())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"token_types": None, "statistics": None}


def balance_loss(probs_LE: Tensor, choices_LE: Tensor, tokens: Tensor) -> Tensor:
    """The load-balance loss of Switch Transformers, ``E sum_e f_e P_e``, mean over layers; 1 when balanced.

    ``f_e`` is the share of choices that fell on expert e and ``P_e`` the mean router probability. No routed token
    gives zero.

    Args:
        probs_LE: (L, E), router probabilities summed over the tokens of all items and processes.
        choices_LE: (L, E), choices of each expert by these tokens.
        tokens: scalar, their number.
    """
    share_LE = choices_LE / choices_LE.sum(-1, keepdim=True).clamp(min=1)
    mean_LE = probs_LE / tokens.clamp(min=1)
    return probs_LE.shape[-1] * (share_LE * mean_LE).sum(-1).mean()


def guide(layer: nn.Module, moe: MixtureOfExperts) -> None:
    """Puts ``moe`` in place of a decoder layer's feed-forward and hands it the ``token_types`` of each call.

    A hook on the layer rather than a subclass of it: it serves every backbone, and a checkpointed layer that is
    recomputed in the backward pass hands over the types of that very call again.
    """
    layer.mlp = moe
    layer.register_forward_pre_hook(_hand_over, with_kwargs=True)


def _hand_over(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    token_types = kwargs.pop("token_types")
    for module in layer.mlp.modules():  # type: ignore[union-attr]  # LoRA wraps the mixture
        if isinstance(module, MixtureOfExperts):
            module.token_types = token_types
    return args, kwargs
