"""Heatmap: an image next to the grids of class probabilities that a cast classifier gives."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fcn_repro.report.pictures import GAP, write_png

SIDES = 400, 640        # minimum and maximum of an image's longer side in the picture
DARK = 0.35             # brightness of the grey image under the grid
ACROSS = 4              # panels per row
# Oklab to linear light (B. Ottosson, "A perceptual color space for image processing", 2020)
CONES = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728],
                  [1, -0.0894841775, -1.2914855480]])
LIGHT = np.array([[4.0767416621, -3.3077115913, 0.2309699292],
                  [-1.2684380046, 2.6097574011, -0.3413193965],
                  [-0.0041960863, -0.7034186147, 1.7076147010]])


def colour_map(n: int = 256) -> np.ndarray:
    """(n, 3) uint8 RGB from dark violet over red to light yellow, in even steps of lightness.

    In Oklab: lightness is linear; the hue runs from 295 to 465 degrees, and chroma is largest in
    between, within the gamut of sRGB.
    """
    t = np.linspace(0, 1, n)
    lightness, hue = 0.12 + 0.84 * t, np.radians(295 + 170 * t)
    chroma = 0.03 + 0.17 * np.sin(np.pi * t ** 0.9) ** 0.8
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], 1)
    linear = ((lab @ CONES.T) ** 3 @ LIGHT.T).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * srgb).astype(np.uint8)


def cells(size: int, stride: float, first: float, count: int) -> np.ndarray:
    """(size,) int: for each pixel of an axis the cell with the nearest centre, first + stride *
    cell; -1 if it is more than half a stride away from all."""
    cell = np.floor((np.arange(size) - first) / stride + 0.5).astype(int)
    return np.where((cell >= 0) & (cell < count), cell, -1)


def panel(image: np.ndarray, grid: np.ndarray, rows: np.ndarray,
          columns: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: a grid (h, w) in 0..1 drawn as cells over the dark grey image.

    rows (H,), columns (W,): each pixel's cell, -1 outside of the grid.
    """
    dark = DARK * image.mean(2, dtype=np.float32)[:, :, None]
    heat = colour_map()[np.rint(255 * grid).astype(int)[rows[:, None], columns]]
    inside = (rows >= 0)[:, None] & (columns >= 0)
    return np.rint(np.where(inside[:, :, None], dark + (1 - DARK) * heat, dark)).astype(np.uint8)


def heatmap(image: np.ndarray, caption: str, grids: np.ndarray, titles: Sequence[str],
            stride: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The image and a panel for each grid, in rows of four, titles above, as (H', W', 3) uint8.

    image: (H, W, 3) uint8 RGB; grids: (k, h, w) probabilities; stride, first: (2,) spacing
    of the cells and centre of the first one, in pixels. The image is scaled to within SIDES.
    """
    height, width = image.shape[:2]
    zoom = np.clip(1, SIDES[0] / max(height, width), SIDES[1] / max(height, width))
    size = max(1, round(height * zoom)), max(1, round(width * zoom))
    image = np.asarray(Image.fromarray(image).resize(size[::-1], Image.LANCZOS))
    zoom = np.divide(size, (height, width))
    rows, columns = map(cells, size, stride * zoom, (first + 0.5) * zoom - 0.5, grids.shape[1:])
    panels = [image, *(panel(image, grid, rows, columns) for grid in grids)]
    return np.asarray(tile(panels, [caption, *titles]))


def tile(panels: Sequence[np.ndarray], titles: Sequence[str]) -> Image.Image:
    """A white Pillow image of panels of one size with titles above and the colour scale below."""
    size = max(panels[0].shape) // 28
    font, head = ImageFont.load_default(size), round(size * 1.8)
    height = panels[0].shape[0] + head
    width = max(panels[0].shape[1], *(round(font.getlength(title)) for title in titles)) + GAP
    across = min(ACROSS, len(panels))
    bottom = -(-len(panels) // across) * height
    picture = Image.new('RGB', (width * across - GAP, bottom + head), 'white')
    draw = ImageDraw.Draw(picture)
    for k, (pixels, title) in enumerate(zip(panels, titles)):
        left, top = k % across * width, k // across * height
        draw.text((left + 2, top + head / 2), title, 'black', font, anchor='lm')
        picture.paste(Image.fromarray(pixels), (left, top + head))
    text, middle = 'probability 0 ', bottom + head / 2
    draw.text((2, middle), text, 'black', font, anchor='lm')
    left, scale = round(2 + font.getlength(text)), colour_map(8 * size)[None]
    picture.paste(Image.fromarray(np.repeat(scale, size, 0)), (left, round(middle - size / 2)))
    draw.text((left + 8 * size, middle), ' 1', 'black', font, anchor='lm')
    return picture


def save_heatmap(image: np.ndarray, caption: str, grids: np.ndarray, titles: Sequence[str],
                 stride: np.ndarray, first: np.ndarray, path: str | Path) -> None:
    """Write heatmap() as a PNG."""
    write_png(Image.fromarray(heatmap(image, caption, grids, titles, stride, first)), path)
