"""What shops write and what shoppers type: the same product in two registers."""

from __future__ import annotations

import random
from typing import Final

from moon.catalog.render.products import Product

_SHOP_COLOURS: Final[dict[str, tuple[str, ...]]] = {
    "black": ("Jet Black", "Onyx"), "white": ("Ivory White", "Chalk White"), "grey": ("Slate Grey", "Ash Grey"),
    "navy": ("Midnight Navy", "Navy Blue"), "blue": ("Cobalt Blue", "Azure"), "teal": ("Petrol Teal", "Lagoon"),
    "green": ("Forest Green", "Emerald"), "olive": ("Olive Green", "Moss"), "yellow": ("Sun Yellow", "Lemon"),
    "orange": ("Tangerine", "Burnt Orange"), "red": ("Crimson", "Cherry Red"), "burgundy": ("Wine Red", "Bordeaux"),
    "pink": ("Rose Pink", "Blush"), "purple": ("Violet", "Plum"), "brown": ("Chestnut", "Cocoa Brown"),
    "beige": ("Sand", "Oat Beige"),
}  # fmt: skip
_SAID_COLOURS: Final[dict[str, tuple[str, ...]]] = {
    "black": ("black", "dark"), "white": ("white", "off white"), "grey": ("grey", "gray"),
    "navy": ("navy", "dark blue"), "blue": ("blue", "royal blue"), "teal": ("teal", "turquoise"),
    "green": ("green", "bright green"), "olive": ("olive", "khaki green"), "yellow": ("yellow", "sunny yellow"),
    "orange": ("orange", "bright orange"), "red": ("red", "scarlet", "crimson"),
    "burgundy": ("burgundy", "dark red", "maroon"),
    "pink": ("pink", "light pink"), "purple": ("purple", "violet"), "brown": ("brown", "chocolate"),
    "beige": ("beige", "sand coloured", "cream"),
}  # fmt: skip
_SAID_PATTERNS: Final[dict[str, tuple[str, ...]]] = {
    "plain": ("plain", "one colour", "simple"), "striped": ("striped", "stripy", "with stripes"),
    "pinstriped": ("pinstripe", "thin stripes"), "dotted": ("polka dot", "spotted", "with dots"),
    "checked": ("checked", "gingham", "checkered"), "plaid": ("plaid", "tartan"),
    "floral": ("floral", "flowery", "with flowers"), "chevron": ("zigzag", "chevron"),
    "geometric": ("geometric", "triangles"), "camouflage": ("camo", "camouflage"),
    "marbled": ("marbled", "marble effect"), "starry": ("stars", "star print", "with stars"),
}  # fmt: skip
_SHOP_PATTERNS: Final = {"dotted": "Polka Dot", "starry": "Star Print", "checked": "Check", "striped": "Stripe"}
_SAID_MATERIALS: Final[dict[str, str]] = {
    "steel": "metal", "aluminium": "metal", "polyester": "synthetic", "porcelain": "china", "stoneware": "pottery",
    "wool": "woolly", "suede": "suede", "nylon": "waterproof", "velvet": "velvety", "silk": "silky",
}  # fmt: skip
_TITLES: Final = (
    "{brand} {form} {noun} in {colour}{pattern_in}",
    "{brand} {noun}, {form}, {material}, {colour}{pattern_comma}",
    "{colour}{pattern_sp} {form} {noun} by {brand}, {size}",
    "{brand} {material} {form} {noun} {size} {colour}{pattern_sp}",
    "{form} {noun} {brand} - {pattern_or_plain} {material} - {colour}",
    "{brand} {colour} {material} {noun}{pattern_comma}, {form}",
)
_OPENINGS: Final = (
    "A {form} {noun} made for {use}.",
    "{brand} designed this {form} {noun} for {use}.",
    "Made for {use}: a {form} {noun} that lasts.",
)
_BODIES: Final = (
    "The {material} body comes in {colours} and feels good in the hand.",
    "In {colours}, with a {pattern} finish on {material}.",
    "We chose {material} because it ages well; the {pattern} look is {colours}.",
)
_ENDINGS: Final = ("Size: {size}.", "Comes in {size}.", "Sent in plain card. {size}.", "")
_TAILS: Final = ("for {use}", "gift", "cheap", "nice", "new", "sale", "online")


def title(product: Product, rng: random.Random) -> str:
    """A shop's title."""
    shown = product.colours[0]
    colour = shown.title() if rng.random() < 0.6 else rng.choice(_SHOP_COLOURS[shown])
    pattern = "" if product.pattern == "plain" else _SHOP_PATTERNS.get(product.pattern, product.pattern.title())
    return rng.choice(_TITLES).format(
        brand=product.brand,
        form=product.form.title(),
        noun=rng.choice(product.kind.nouns),
        colour=colour,
        material=product.material.title(),
        size=product.size,
        pattern_in=f" {pattern}" if pattern else "",
        pattern_comma=f", {pattern}" if pattern else "",
        pattern_sp=f" {pattern}" if pattern else "",
        pattern_or_plain=pattern or "Plain",
    )


def description(product: Product, rng: random.Random) -> str:
    """Two or three sentences."""
    shown = product.attributes["colour"]
    words = {
        "brand": product.brand,
        "form": product.form,
        "noun": rng.choice(product.kind.nouns).lower(),
        "use": rng.choice(product.kind.uses),
        "material": product.material,
        "pattern": product.pattern,
        "colours": " and ".join(shown),
        "size": product.size,
    }
    sentences = (rng.choice(choices).format(**words) for choices in (_OPENINGS, _BODIES, _ENDINGS))
    return " ".join(sentence for sentence in sentences if sentence)


def query(product: Product, rng: random.Random, short: bool) -> str:
    """What a shopper types: partial, in other words and another order; ``short`` beside a photo."""
    said = {
        "colour": rng.choice(_SAID_COLOURS[product.colours[0]]),
        "noun": rng.choice(product.kind.slang),
        "pattern": rng.choice(_SAID_PATTERNS[product.pattern]),
        "form": product.form,
        "material": _said_material(product.material, rng),
        "brand": product.brand.lower(),
        "size": product.size.lower(),
    }
    if short:
        pointed_at = said["noun"] if rng.random() < 0.6 else rng.choice(("like this", "this one"))
        pair = [pointed_at, said[rng.choice(("colour", "colour", "pattern", "form", "brand"))]]
        rng.shuffle(pair)
        return " ".join(pair)
    if rng.random() < 0.04:
        return title(product, rng).lower()
    patterned = product.pattern != "plain"
    chances = {
        "colour": 0.9,
        "pattern": 0.75 if patterned else 0.06,
        "form": 0.6,
        "material": 0.4,
        "brand": 0.3,
        "size": 0.12,
    }
    words = [said[part] for part, chance in chances.items() if rng.random() < chance]
    if rng.random() < 0.3:
        rng.shuffle(words)
    words.insert(len(words) if rng.random() < 0.7 else rng.randint(0, len(words)), said["noun"])
    if rng.random() < 0.15:
        words.append(rng.choice(_TAILS).format(use=rng.choice(product.kind.uses)))
    return " ".join(words)


def _said_material(material: str, rng: random.Random) -> str:
    return _SAID_MATERIALS[material] if material in _SAID_MATERIALS and rng.random() < 0.5 else material
