"""What can be sold: every kind of product, where it is filed, what it may be made of and what people call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from moon.catalog.render import draw_carry, draw_clothes, draw_home, draw_play
from moon.catalog.render.art import Art

_CLOTH: Final = ("plain", "striped", "pinstriped", "dotted", "checked", "plaid", "floral", "chevron", "starry")
_OUTDOOR: Final = ("plain", "striped", "dotted", "checked", "geometric", "camouflage", "floral")
_GLAZED: Final = ("plain", "striped", "dotted", "floral", "geometric", "chevron", "marbled")
_CLOTHES_SIZES: Final = ("XS", "S", "M", "L", "XL")
_SHOE_SIZES: Final = ("EU 37", "EU 39", "EU 41", "EU 43", "EU 45")
_BAG_SIZES: Final = ("8 l", "14 l", "20 l", "26 l")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of product."""

    draw: Callable[[Art], None]
    path: tuple[str, str, str]
    """Category path, three levels."""
    forms: tuple[str, ...]
    """Shapes that ``draw`` knows."""
    materials: tuple[str, ...]
    patterns: tuple[str, ...]
    sizes: tuple[str, ...]
    nouns: tuple[str, ...]
    """What the shop calls it."""
    slang: tuple[str, ...]
    """What shoppers call it."""
    uses: tuple[str, ...]
    """What it is good for, ends of a sentence that starts with "made for"."""
    stance: Literal["stand", "lay"] = "stand"
    """Photographed standing on something, or lying on it and hanging before it."""
    extent: float = 1.0
    """Length of its longer side in a picture, as a share of the usual."""


KINDS: Final[tuple[Kind, ...]] = (
    Kind(
        draw=draw_home.mug,
        path=("Home & Kitchen", "Drinkware", "Mugs"),
        forms=("classic", "tall", "barrel", "tapered"),
        materials=("ceramic", "stoneware", "porcelain", "enamel"),
        patterns=_GLAZED,
        sizes=("250 ml", "330 ml", "400 ml"),
        nouns=("Mug", "Coffee Mug", "Tea Mug"),
        slang=("cup", "coffee cup", "mug", "tea cup"),
        uses=("slow mornings", "the office desk", "tea by the window"),
        extent=0.85,
    ),
    Kind(
        draw=draw_clothes.t_shirt,
        path=("Clothing", "Tops", "T-Shirts"),
        forms=("crew neck", "v-neck", "long-sleeve", "polo"),
        materials=("cotton", "linen", "polyester"),
        patterns=_CLOTH,
        sizes=_CLOTHES_SIZES,
        nouns=("T-Shirt", "Tee", "Jersey Top"),
        slang=("tshirt", "tee", "shirt", "top"),
        uses=("every day", "warm evenings", "layering"),
        stance="lay",
    ),
    Kind(
        draw=draw_carry.sneaker,
        path=("Shoes", "Sports Shoes", "Sneakers"),
        forms=("runner", "low-top", "high-top", "slip-on"),
        materials=("mesh", "leather", "canvas", "suede"),
        patterns=("plain", "plain", "checked", "camouflage", "striped", "floral"),
        sizes=_SHOE_SIZES,
        nouns=("Sneaker", "Sneakers", "Trainer"),
        slang=("trainers", "kicks", "running shoes", "gym shoes"),
        uses=("long walks", "the gym", "city streets"),
    ),
    Kind(
        draw=draw_carry.backpack,
        path=("Bags & Luggage", "Backpacks", "Day Packs"),
        forms=("daypack", "rolltop", "school", "mini"),
        materials=("canvas", "nylon", "leather", "polyester"),
        patterns=_OUTDOOR,
        sizes=_BAG_SIZES,
        nouns=("Backpack", "Rucksack"),
        slang=("rucksack", "school bag", "knapsack", "backpack"),
        uses=("the commute", "weekend hikes", "carrying a laptop"),
    ),
    Kind(
        draw=draw_home.lamp,
        path=("Home & Kitchen", "Lighting", "Table Lamps"),
        forms=("drum", "empire", "dome", "tripod"),
        materials=("linen", "cotton", "silk", "paper"),
        patterns=("plain", "plain", "striped", "pinstriped", "floral", "checked", "geometric"),
        sizes=("35 cm", "45 cm", "55 cm"),
        nouns=("Table Lamp", "Bedside Lamp", "Desk Lamp"),
        slang=("bedside light", "night light", "lamp", "reading lamp"),
        uses=("the bedside", "a reading corner", "soft evening light"),
        extent=1.1,
    ),
    Kind(
        draw=draw_home.bottle,
        path=("Sports & Outdoors", "Hydration", "Water Bottles"),
        forms=("slim", "wide-mouth", "sports", "flask"),
        materials=("steel", "aluminium", "plastic", "glass"),
        patterns=("plain", "plain", "striped", "camouflage", "geometric", "marbled", "dotted"),
        sizes=("350 ml", "500 ml", "750 ml", "1 l"),
        nouns=("Water Bottle", "Drinking Bottle", "Bottle"),
        slang=("drinks bottle", "flask", "water bottle", "gym bottle"),
        uses=("training", "the trail", "a day at school"),
        extent=1.1,
    ),
    Kind(
        draw=draw_home.chair,
        path=("Furniture", "Seating", "Chairs"),
        forms=("dining", "armchair", "stool", "shell"),
        materials=("velvet", "leather", "linen", "plastic"),
        patterns=("plain", "plain", "plain", "striped", "plaid", "floral", "geometric"),
        sizes=("seat 42 cm", "seat 46 cm", "seat 50 cm"),
        nouns=("Chair", "Accent Chair", "Seat"),
        slang=("seat", "kitchen chair", "chair", "living room chair"),
        uses=("the dining table", "a quiet corner", "long talks"),
        extent=1.15,
    ),
    Kind(
        draw=draw_play.headphones,
        path=("Electronics", "Audio", "Headphones"),
        forms=("over-ear", "on-ear", "studio", "kids"),
        materials=("plastic", "aluminium", "leather"),
        patterns=("plain", "plain", "plain", "marbled", "camouflage", "starry", "striped"),
        sizes=("one size", "compact", "large"),
        nouns=("Headphones", "Wireless Headphones", "Headset"),
        slang=("headset", "cans", "bluetooth headphones", "ear phones"),
        uses=("the train", "late-night music", "calls"),
        stance="lay",
    ),
    Kind(
        draw=draw_carry.watch,
        path=("Jewellery & Watches", "Watches", "Wrist Watches"),
        forms=("dress", "diver", "square", "chronograph"),
        materials=("leather", "silicone", "nylon", "steel"),
        patterns=("plain", "plain", "plain", "striped", "camouflage", "floral"),
        sizes=("36 mm", "40 mm", "44 mm"),
        nouns=("Watch", "Wrist Watch", "Analogue Watch"),
        slang=("wristwatch", "timepiece", "watch", "quartz watch"),
        uses=("the boardroom", "the pool", "a gift"),
        stance="lay",
        extent=1.05,
    ),
    Kind(
        draw=draw_clothes.dress,
        path=("Clothing", "Dresses & Skirts", "Dresses"),
        forms=("a-line", "maxi", "slip", "shirt dress"),
        materials=("cotton", "silk", "linen", "velvet"),
        patterns=_CLOTH,
        sizes=_CLOTHES_SIZES,
        nouns=("Dress", "Summer Dress", "Day Dress"),
        slang=("frock", "gown", "dress", "sundress"),
        uses=("garden parties", "warm days", "an evening out"),
        stance="lay",
        extent=1.1,
    ),
    Kind(
        draw=draw_clothes.sunglasses,
        path=("Accessories", "Eyewear", "Sunglasses"),
        forms=("round", "aviator", "square", "cat-eye"),
        materials=("plastic", "steel", "aluminium"),
        patterns=("plain", "plain", "plain", "marbled", "striped", "dotted"),
        sizes=("narrow", "medium", "wide"),
        nouns=("Sunglasses", "Shades"),
        slang=("shades", "sunnies", "sun glasses", "eyewear"),
        uses=("the beach", "driving", "bright days"),
        stance="lay",
        extent=1.05,
    ),
    Kind(
        draw=draw_home.teapot,
        path=("Home & Kitchen", "Tea & Coffee", "Teapots"),
        forms=("round", "tall", "low", "kettle"),
        materials=("porcelain", "ceramic", "stoneware", "enamel"),
        patterns=_GLAZED,
        sizes=("600 ml", "900 ml", "1.2 l"),
        nouns=("Teapot", "Tea Pot", "Tea Kettle"),
        slang=("kettle", "tea pot", "pot for tea", "brewing pot"),
        uses=("afternoon tea", "loose leaves", "a full table"),
        extent=0.95,
    ),
    Kind(
        draw=draw_home.cushion,
        path=("Home & Kitchen", "Home Textiles", "Cushions"),
        forms=("square", "round", "lumbar", "tasselled"),
        materials=("velvet", "linen", "cotton", "wool"),
        patterns=(*_CLOTH, "geometric"),
        sizes=("30 x 50 cm", "40 x 40 cm", "50 x 50 cm"),
        nouns=("Cushion", "Throw Pillow", "Sofa Cushion"),
        slang=("pillow", "throw pillow", "couch pillow", "cushion"),
        uses=("the sofa", "a window seat", "the guest bed"),
        stance="lay",
        extent=0.9,
    ),
    Kind(
        draw=draw_home.vase,
        path=("Home & Kitchen", "Decoration", "Vases"),
        forms=("amphora", "cylinder", "bottle-neck", "globe"),
        materials=("glass", "ceramic", "stoneware", "porcelain"),
        patterns=_GLAZED,
        sizes=("18 cm", "25 cm", "32 cm"),
        nouns=("Vase", "Flower Vase"),
        slang=("flower pot", "jar for flowers", "vase", "urn"),
        uses=("dried stems", "fresh tulips", "the mantelpiece"),
    ),
    Kind(
        draw=draw_play.notebook,
        path=("Office & Stationery", "Paper", "Notebooks"),
        forms=("hardcover", "spiral", "elastic", "stapled"),
        materials=("paper", "leather", "linen"),
        patterns=("plain", "striped", "dotted", "checked", "floral", "geometric", "marbled", "chevron", "starry"),
        sizes=("A4", "A5", "A6"),
        nouns=("Notebook", "Journal", "Notepad"),
        slang=("notepad", "diary", "exercise book", "jotter"),
        uses=("lecture notes", "sketches", "morning pages"),
        stance="lay",
        extent=0.9,
    ),
    Kind(
        draw=draw_clothes.cap,
        path=("Accessories", "Headwear", "Caps & Hats"),
        forms=("baseball", "bucket", "beanie", "trucker"),
        materials=("cotton", "wool", "denim", "nylon"),
        patterns=("plain", "plain", "striped", "plaid", "camouflage", "dotted", "starry", "floral"),
        sizes=("55 cm", "57 cm", "59 cm"),
        nouns=("Cap", "Hat"),
        slang=("hat", "headwear", "cap", "sun hat"),
        uses=("sunny sidelines", "windy walks", "bad hair days"),
        stance="lay",
        extent=0.9,
    ),
    Kind(
        draw=draw_clothes.umbrella,
        path=("Accessories", "Rainwear", "Umbrellas"),
        forms=("classic", "dome", "panelled", "folded"),
        materials=("nylon", "polyester"),
        patterns=("plain", "plain", "striped", "dotted", "checked", "plaid", "floral", "geometric", "starry"),
        sizes=("85 cm", "100 cm", "120 cm"),
        nouns=("Umbrella", "Rain Umbrella"),
        slang=("brolly", "parasol", "rain umbrella", "umbrella"),
        uses=("sudden showers", "gusty crossings", "two people"),
        stance="lay",
        extent=1.05,
    ),
    Kind(
        draw=draw_play.ball,
        path=("Toys & Games", "Outdoor Play", "Balls"),
        forms=("football", "basketball", "beach", "play"),
        materials=("rubber", "leather", "plastic"),
        patterns=("plain", "plain", "plain", "dotted", "starry", "camouflage", "striped"),
        sizes=("size 3", "size 5", "size 7"),
        nouns=("Ball", "Play Ball"),
        slang=("ball", "toy ball", "kickabout ball", "bouncy ball"),
        uses=("the back yard", "the playground", "beach days"),
        extent=0.8,
    ),
    Kind(
        draw=draw_home.clock,
        path=("Home & Kitchen", "Decoration", "Clocks"),
        forms=("round", "square", "sunburst", "octagonal"),
        materials=("plastic", "wood", "steel", "ceramic"),
        patterns=("plain", "plain", "plain", "marbled", "dotted", "geometric"),
        sizes=("25 cm", "30 cm", "40 cm"),
        nouns=("Wall Clock", "Clock"),
        slang=("clock", "kitchen clock", "wall timer", "time piece for the wall"),
        uses=("the kitchen wall", "the hallway", "a classroom"),
        stance="lay",
        extent=0.9,
    ),
    Kind(
        draw=draw_clothes.jacket,
        path=("Clothing", "Outerwear", "Jackets"),
        forms=("hoodie", "bomber", "puffer", "raincoat"),
        materials=("nylon", "cotton", "denim", "wool"),
        patterns=("plain", "plain", "striped", "plaid", "camouflage", "dotted", "starry"),
        sizes=_CLOTHES_SIZES,
        nouns=("Jacket", "Coat"),
        slang=("coat", "sweater", "zip up", "jacket"),
        uses=("cool mornings", "drizzle", "the campfire"),
        stance="lay",
    ),
    Kind(
        draw=draw_carry.boot,
        path=("Shoes", "Winter Shoes", "Boots"),
        forms=("chelsea", "lace-up", "wellington", "ankle"),
        materials=("leather", "suede", "rubber"),
        patterns=("plain", "plain", "plain", "floral", "dotted", "plaid", "camouflage"),
        sizes=_SHOE_SIZES,
        nouns=("Boot", "Boots"),
        slang=("winter shoes", "booties", "boots", "welly"),
        uses=("puddles", "frosty paths", "the city in winter"),
        extent=0.95,
    ),
    Kind(
        draw=draw_carry.handbag,
        path=("Bags & Luggage", "Handbags", "Shoulder Bags"),
        forms=("tote", "satchel", "bucket bag", "clutch"),
        materials=("leather", "canvas", "suede", "linen"),
        patterns=("plain", "plain", "striped", "dotted", "plaid", "floral", "geometric", "chevron"),
        sizes=("small", "medium", "large"),
        nouns=("Handbag", "Bag"),
        slang=("purse", "bag", "shopper", "ladies bag"),
        uses=("the market", "work and after", "a night out"),
    ),
    Kind(
        draw=draw_play.teddy,
        path=("Toys & Games", "Soft Toys", "Plush Animals"),
        forms=("bear", "rabbit", "cat", "dog"),
        materials=("cotton", "wool", "velvet"),
        patterns=("plain", "plain", "plain", "dotted", "plaid", "starry", "striped"),
        sizes=("22 cm", "30 cm", "45 cm"),
        nouns=("Plush", "Soft Toy", "Cuddly Toy"),
        slang=("stuffed animal", "teddy", "cuddly", "plushie"),
        uses=("bedtime", "small hands", "the pram"),
        extent=0.95,
    ),
    Kind(
        draw=draw_home.planter,
        path=("Garden", "Pots & Planters", "Planted Pots"),
        forms=("succulent", "fern", "snake plant", "cactus"),
        materials=("ceramic", "stoneware", "concrete", "plastic"),
        patterns=_GLAZED,
        sizes=("9 cm", "12 cm", "16 cm"),
        nouns=("Plant Pot", "Planter", "Potted Plant"),
        slang=("house plant", "pot plant", "planter", "plant with pot"),
        uses=("the windowsill", "a sunny desk", "the balcony"),
        extent=0.95,
    ),
    Kind(
        draw=draw_play.guitar,
        path=("Musical Instruments", "Strings", "Guitars"),
        forms=("acoustic", "ukulele", "electric", "cutaway"),
        materials=("wood",),
        patterns=("plain", "plain", "plain", "striped", "floral", "starry", "geometric"),
        sizes=("1/2", "3/4", "4/4"),
        nouns=("Guitar", "Beginner Guitar"),
        slang=("gitar", "six string", "guitar for kids", "instrument"),
        uses=("the first chords", "the stage", "the campfire"),
        extent=1.2,
    ),
)
