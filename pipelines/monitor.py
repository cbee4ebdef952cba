"""The pipeline ``moon-monitor``: one window of traffic against its reference."""

from kfp import dsl

from components.compare.component import compare
from components.configure.component import configure
from pipelines.platform import CLAIM, MEDIUM, SMALL, ask
from pipelines.train import RECIPE


@dsl.pipeline(name="moon-monitor", description="Test one window of traffic for drift.")  # type: ignore[untyped-decorator]
def moon_monitor(reference: str, window: str, recipe: str = RECIPE, claim: str = CLAIM) -> str:
    """Gives the decision on the window; the page beside it tells why.

    Args:
        reference: Parquet file of the traffic that the model was accepted on.
        window: Parquet file of the traffic to judge, named after its window.
        recipe: Text of a parameter file.
        claim: Volume claim that the windows lie on, mounted at /mnt/moon.
    """
    params = ask(configure(recipe=recipe), SMALL).outputs
    compared = ask(compare(reference=reference, window=window, params=params["drift"]), MEDIUM, claim=claim)
    decision: str = compared.outputs["Output"]
    return decision
