"""Real photographs for tests and benches: cut from those that scikit-image and scikit-learn ship, with masks."""

import random
from collections.abc import Iterator
from pathlib import Path

import skimage
import sklearn
from PIL import Image, ImageDraw

IN_SKIMAGE = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
IN_SKLEARN = ("china.jpg", "flower.jpg")
MEGAPIXEL = 1_000_000


def originals() -> list[Path]:
    """Return the paths of the photographs that lie in the two packages."""
    skimage_data = Path(skimage.__file__).parent / "data"
    sklearn_data = Path(sklearn.__file__).parent / "datasets" / "images"
    return [skimage_data / name for name in IN_SKIMAGE] + [sklearn_data / name for name in IN_SKLEARN]


def write(folder: Path, count: int, *, pixels: int = MEGAPIXEL, seed: int = 11) -> list[Path]:
    """Write ``count`` photographs of about ``pixels`` with ``NAME_mask.png`` beside each; return the photographs."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    return [
        _write_one(folder, number, source, draw, pixels) for number, source in zip(range(count), _turns(), strict=False)
    ]


def _turns() -> Iterator[Path]:
    while True:
        yield from originals()


def _write_one(folder: Path, number: int, source: Path, draw: random.Random, pixels: int) -> Path:
    whole = Image.open(source).convert("RGB")
    share = draw.uniform(0.6, 0.95)
    width, height = int(whole.width * share), int(whole.height * share)
    left, top = draw.randint(0, whole.width - width), draw.randint(0, whole.height - height)
    scale = (pixels / (width * height)) ** 0.5
    size = (round(width * scale), round(height * scale))
    photo = whole.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
    name = f"{number:03d}-{source.stem}"
    path = folder / (f"{name}.png" if number % 8 == 7 else f"{name}.jpg")
    photo.save(path, quality=92)
    _mask(photo.size, draw).save(folder / f"{name}_mask.png")
    return path


def _mask(size: tuple[int, int], draw: random.Random) -> Image.Image:
    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    for _ in range(draw.randint(1, 3)):
        width, height = size[0] * draw.uniform(0.06, 0.2), size[1] * draw.uniform(0.06, 0.2)
        left, top = draw.uniform(0, size[0] - width), draw.uniform(0, size[1] - height)
        shape = pen.ellipse if draw.random() < 0.5 else pen.rectangle
        shape((left, top, left + width, top + height), fill=255)
    return mask
