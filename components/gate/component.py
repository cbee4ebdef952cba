"""Decides whether the model may be registered."""

from kfp.dsl import Artifact, Input, Markdown, Output

from components.base import component


@component
def gate(
    evaluation: Input[Artifact],
    comparison: Input[Artifact],
    params: str,
    decision: Output[Artifact],
    reasons: Output[Markdown],
) -> bool:
    """Decides whether the model may be registered.

    Args:
        evaluation: Output of the evaluate component.
        comparison: Output of the challenge component.
        params: Section "gate" as JSON.
        decision: The verdict, which registration asks for.
        reasons: The verdict in words.
    """
    from pathlib import Path

    from moon.config import GateParams, from_json
    from moon.steps import gate as step
    from moon.steps.provenance import origin

    measured = {"evaluation": Path(evaluation.path), "comparison": Path(comparison.path)}
    result = step.run(**measured, params=from_json(GateParams, params), out=Path(decision.path))
    decision.metadata.update(origin(evaluation.metadata, gate=params), passed=result.passed)
    lines = [f"# {'Passed' if result.passed else 'Not passed'}", *(f"- {reason}" for reason in result.reasons)]
    Path(reasons.path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return bool(result.passed)
