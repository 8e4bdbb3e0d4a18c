# SPDX-License-Identifier: Apache-2.0
"""Draw one cartoon face from (seed, index), and serve such drawings to another process.

The parts are drawn by python-avatars (MIT; art "Avataaars") and turned into pixels by resvg-py.
Grotesque parts (VOMIT, X_DIZZY, EYEPATCH, …), parts that ignore the hair color and parts that
leave the frame are not in `PARTS`.

This file imports nothing of fastgan, because avatars.py also runs it as a script in child
processes: resvg holds the GIL while it draws, so only processes draw in parallel, and a child that
need not import torch starts at once. As a script it reads one JSON line {"seed", "resolution",
"start", "stop", "step"} from stdin, and for each index of that range writes to stdout the 4-byte
little-endian length of a PNG, then the PNG.
"""

import importlib
import io
import json
import random
import re
import struct
import sys
from types import ModuleType


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PARTS = {
    "hair": _names(
        "NONE BIG_HAIR BOB BUN CAESAR_SIDE_PART CAESAR CURLY CURVY DREADS FRIZZLE FRO_BAND "
        "FRO LONG_NOT_TOO_LONG MIA_WALLACE SHAGGY_MULLET SHAGGY SHORT_CURLY SHORT_DREADS_1 "
        "SHORT_DREADS_2 SHORT_FLAT SHORT_ROUND SHORT_WAVED SIDES STRAIGHT_1 STRAIGHT_STRAND "
        "BRAIDS BUZZCUT CORNROWS DREADLOCKS ELVIS HALF_SHAVED LOOSE_HAIR MOHAWK MOWGLI PIXIE "
        "POMPADOUR QUIFF TWIST_LONG_HAIR TWIST_LONG_HAIR_2 WICK WILD"
    ),
    "hat": _names("HIJAB TURBAN WINTER_HAT_3 WINTER_HAT_4"),
    "hat_color": _names(
        "BLACK BLUE_01 BLUE_02 BLUE_03 GRAY_01 GRAY_02 HEATHER PASTEL_BLUE PASTEL_GREEN "
        "PASTEL_ORANGE PASTEL_YELLOW PINK RED WHITE"
    ),
    "hair_color": _names(
        "AUBURN BLACK BLONDE BLONDE_GOLDEN BROWN BROWN_DARK PASTEL_PINK PLATINUM RED SILVER_GRAY"
    ),
    "skin_color": _names("PALE LIGHT BROWN DARK_BROWN BLACK"),
    "eyebrows": _names(
        "DEFAULT_NATURAL DEFAULT FLAT_NATURAL RAISED_EXCITED_NATURAL RAISED_EXCITED "
        "SAD_CONCERNED_NATURAL SAD_CONCERNED UP_DOWN_NATURAL UP_DOWN"
    ),
    "eyes": _names("CLOSED DEFAULT HAPPY SIDE SQUINT SURPRISED WINK"),
    "nose": _names("DEFAULT SMALL WIDE"),
    "mouth": _names("DEFAULT DISBELIEF SAD SERIOUS SMILE TONGUE TWINKLE BIG_SMILE"),
    "facial_hair": _names("BEARD_LIGHT BEARD_MAGESTIC BEARD_MEDIUM MOUSTACHE_MAGNUM"),
    "accessory": _names(
        "PRESCRIPTION_1 PRESCRIPTION_2 ROUND SUNGLASSES WAYFARERS SUNGLASSES_2 WAYFARERS_2"
    ),
    "clothing": _names(
        "BLAZER_SHIRT BLAZER_SWEATER COLLAR_SWEATER HOODIE OVERALL SHIRT_CREW_NECK "
        "SHIRT_SCOOP_NECK SHIRT_V_NECK BOND_SUIT SHIRT_WICK"
    ),
    "background": _names("#dfeaf4 #f7e6d8 #e4f1de #efe3f3 #fbf3d3"),
}
PARTS["clothing_color"] = PARTS["hat_color"]

HAT_SHARE, FACIAL_HAIR_SHARE, ACCESSORY_SHARE = 0.06, 0.25, 0.3

# The classes of each attribute that a label may be. Hair that is under a hat or not there at all
# has no colour to be seen, so that is a class of its own.
CLASSES = {
    "hair_color": (*PARTS["hair_color"], "HIDDEN"),
    **{name: ("NONE", *PARTS[name]) for name in ("facial_hair", "accessory")},
    **{
        name: PARTS[name]
        for name in _names("skin_color eyebrows eyes nose mouth clothing clothing_color background")
    },
}

_SVG_SIZE = re.compile(r'width="264px" height="280px" viewBox="0 0 264 280"')
_SVG_SQUARE = 'width="232px" height="232px" viewBox="16 30 232 232"'


def draw_attributes(seed: int, index: int) -> dict[str, str]:
    """Attributes of face `index` of the set `seed`: the same on every machine and every Python.

    Each attribute is uniform over `PARTS`, except: a hat with probability 0.06, else hair; facial
    hair with 0.25 (else "NONE", and always "NONE" under a hijab); glasses with 0.3 (else "NONE").
    Only `Random(str).random()` is used, whose sequence Python promises not to change; the global
    generator is not touched.
    """
    rng = random.Random(f"fastgan avatars v1 {seed} {index}")

    def pick(name: str) -> str:
        return PARTS[name][int(rng.random() * len(PARTS[name]))]

    has_hat = rng.random() < HAT_SHARE
    has_facial_hair = rng.random() < FACIAL_HAIR_SHARE
    has_accessory = rng.random() < ACCESSORY_SHARE
    drawn = {
        name: pick(name) for name in PARTS
    }  # every part is drawn, so that no draw moves another
    drawn["top"] = f"hat/{drawn['hat']}" if has_hat else f"hair/{drawn['hair']}"
    if not has_facial_hair or drawn["top"] == "hat/HIJAB":
        drawn["facial_hair"] = "NONE"
    if not has_accessory:
        drawn["accessory"] = "NONE"
    del drawn["hat"], drawn["hair"]
    return drawn


def class_of(attributes: dict[str, str], label: str) -> int:
    """Index into `CLASSES[label]` of a face with these attributes."""
    top = attributes["top"]
    if label == "hair_color" and (top.startswith("hat/") or top == "hair/NONE"):
        return CLASSES[label].index("HIDDEN")
    return CLASSES[label].index(attributes[label])


def render(attributes: dict[str, str], resolution: int) -> bytes:
    """RGB PNG of resolution × resolution pixels showing `attributes` (see `draw_attributes`).

    The 264×280 drawing is cropped to the 232×232 square at (16, 30): head and shoulders.
    Raises RuntimeError where python-avatars draws on another canvas than that.
    """
    pa = _python_avatars()
    import resvg_py
    from PIL import Image

    kind, top = attributes["top"].split("/")
    svg = pa.Avatar(
        style=pa.AvatarStyle.TRANSPARENT,
        top=(pa.HatType if kind == "hat" else pa.HairType)[top],
        hat_color=pa.ClothingColor[attributes["hat_color"]],
        eyebrows=pa.EyebrowType[attributes["eyebrows"]],
        eyes=pa.EyeType[attributes["eyes"]],
        nose=pa.NoseType[attributes["nose"]],
        mouth=pa.MouthType[attributes["mouth"]],
        facial_hair=pa.FacialHairType[attributes["facial_hair"]],
        skin_color=pa.SkinColor[attributes["skin_color"]],
        hair_color=pa.HairColor[attributes["hair_color"]],
        facial_hair_color=pa.HairColor[attributes["hair_color"]],
        accessory=pa.AccessoryType[attributes["accessory"]],
        clothing=pa.ClothingType[attributes["clothing"]],
        clothing_color=pa.ClothingColor[attributes["clothing_color"]],
    ).render()
    svg, found = _SVG_SIZE.subn(_SVG_SQUARE, svg, count=1)
    if not found:
        raise RuntimeError(
            "avatars: python-avatars no longer draws on a 264x280 canvas, so the crop "
            "would be wrong; install python-avatars==1.4.1"
        )
    drawn = resvg_py.svg_to_bytes(
        svg_string=svg,
        width=resolution,
        height=resolution,
        background=attributes["background"],
        skip_system_fonts=True,
    )
    png = io.BytesIO()
    with Image.open(io.BytesIO(drawn)) as image:
        image.convert("RGB").save(png, format="png", optimize=False)
    return png.getvalue()


def _python_avatars() -> ModuleType:
    # Its import draws a number from Python's global generator; a user's seeded run must not notice.
    if "python_avatars" not in sys.modules:
        state = random.getstate()
        importlib.import_module("python_avatars")
        random.setstate(state)
    return sys.modules["python_avatars"]


def _serve() -> None:
    job = json.loads(sys.stdin.readline())
    for index in range(job["start"], job["stop"], job["step"]):
        png = render(draw_attributes(job["seed"], index), job["resolution"])
        sys.stdout.buffer.write(struct.pack("<I", len(png)) + png)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
