"""The pipeline ``moon-embed``: a new catalogue for the model that serves."""

from kfp import dsl

from components.configure.component import configure
from components.embed.component import embed
from components.fetch.component import fetch
from components.finish.component import finish
from components.index.component import index
from components.merge_regions.component import merge_regions
from components.model.component import model
from components.regions.component import regions
from components.serving.component import serving
from components.swap.component import swap
from components.validate.component import validate
from pipelines.platform import CLAIM, DEPLOYMENT, LARGE, MEDIUM, REGISTRY, SMALL, ask, ask_for_data, pipeline
from pipelines.train import RECIPE


@pipeline(name="moon-embed", description="Embed a new catalogue with the model that serves.")
def moon_embed(
    data: str,
    path: str = "",
    revision: str = "",
    version: str = "",
    recipe: str = RECIPE,
    registry: str = REGISTRY,
    deployment: str = DEPLOYMENT,
    claim: str = CLAIM,
) -> None:
    """Brings a new catalogue into search without training: the servers change over to its index.

    Args:
        data: Folder of a catalogue; with path, Git repository whose data DVC tracks.
        path: Of the catalogue in the repository.
        revision: Commit, tag or branch of the repository.
        version: Digest that the catalogue must have.
        recipe: Text of a parameter file.
        registry: Registry of models.
        deployment: Folder of search artefacts and of what serves.
        claim: Volume claim that tasks share, mounted at /mnt/moon.
    """
    params = ask(configure(recipe=recipe), SMALL).outputs
    where = {"registry": registry, "deployment": deployment}
    target = {**where, "params": params["serving"], "pipeline": params["pipeline"]}
    with dsl.ExitHandler(ask(finish(**where, recipe=recipe), SMALL, cached=False, claim=claim)):
        serves = ask(serving(**target), SMALL, cached=False, claim=claim).output
        copied = ask(model(version=serves, registry=registry, params=params["serving"]), MEDIUM, claim=claim)
        fetched = ask_for_data(fetch(source=data, path=path, revision=revision, version=version), claim)
        catalog = fetched.outputs["catalog"]
        checked = ask(validate(catalog=catalog, params=params["validation"]), MEDIUM, retries=1)
        with dsl.ParallelFor(params["shards"], name="shares of the pictures") as shard:
            shared = regions(catalog=catalog, params=params["regions"], shard=shard).after(checked)
            ask(shared, MEDIUM)
        merged = merge_regions(catalog=catalog, parts=dsl.Collected(shared.outputs["found"]))
        inputs = {"catalog": catalog, "regions": ask(merged, MEDIUM).outputs["found"]}
        with dsl.ParallelFor(params["shards"], name="shares of the products") as part:
            embedded = embed(**inputs, trained=copied.outputs["registered"], params=params["serving"], shard=part)
            ask(embedded, LARGE)
        parts = dsl.Collected(embedded.outputs["embedded"])
        settings = {"params": params["serving"], "regions_params": params["regions"]}
        search = ask(index(catalog=catalog, parts=parts, **settings), MEDIUM).outputs["search"]
        ask(swap(**target, version=serves, search=search), SMALL, cached=False, claim=claim)
