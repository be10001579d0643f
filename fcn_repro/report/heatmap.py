"""An image beside the grids of class probabilities that a cast classifier gives on it."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fcn_repro.report.pictures import GAP, write_png

SIDES = 400, 640        # an image's longer side in the picture, at least and at most
DARK = 0.35             # what is left of the image, in grey, under the grid
ACROSS = 4              # panels in a row
# Oklab to linear light (B. Ottosson, "A perceptual color space for image processing", 2020)
CONES = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728],
                  [1, -0.0894841775, -1.2914855480]])
LIGHT = np.array([[4.0767416621, -3.3077115913, 0.2309699292],
                  [-1.2684380046, 2.6097574011, -0.3413193965],
                  [-0.0041960863, -0.7034186147, 1.7076147010]])


def colour_map(n=256):
    """(n, 3) uint8 RGB from dark violet over red to light yellow, in even steps of lightness.

    In Oklab: lightness is linear; the hue runs from 295 to 465 degrees, and chroma is largest in
    between, as far as sRGB reaches.
    """
    t = np.linspace(0, 1, n)
    lightness, hue = 0.12 + 0.84 * t, np.radians(295 + 170 * t)
    chroma = 0.03 + 0.17 * np.sin(np.pi * t ** 0.9) ** 0.8
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], 1)
    linear = ((lab @ CONES.T) ** 3 @ LIGHT.T).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * srgb).astype(np.uint8)


def cells(size, stride, first, count):
    """(size,) int: for each pixel of an axis the cell whose centre, first + stride * cell, is
    nearest; -1 further than half a stride from all."""
    cell = np.floor((np.arange(size) - first) / stride + 0.5).astype(int)
    return np.where((cell >= 0) & (cell < count), cell, -1)


def panel(image, grid, rows, columns):
    """(H, W, 3) uint8: the image dark and grey, a grid (h, w) in 0..1 drawn over it as cells.

    rows (H,), columns (W,): each pixel's cell, -1 outside of the grid.
    """
    dark = DARK * image.mean(2, dtype=np.float32)[:, :, None]
    heat = colour_map()[np.rint(255 * grid).astype(int)[rows[:, None], columns]]
    inside = (rows >= 0)[:, None] & (columns >= 0)
    return np.rint(np.where(inside[:, :, None], dark + (1 - DARK) * heat, dark)).astype(np.uint8)


def heatmap(image, caption, grids, titles, stride, first):
    """The image and a panel for each grid, in rows of four, titles above, as (H', W', 3) uint8.

    image: (H, W, 3) uint8 RGB; grids: (k, h, w) probabilities; stride, first: (2,) place of the
    cells in pixels of the image. Small images are drawn larger and large ones smaller.
    """
    height, width = image.shape[:2]
    zoom = np.clip(1, SIDES[0] / max(height, width), SIDES[1] / max(height, width))
    shown = max(1, round(height * zoom)), max(1, round(width * zoom))
    image = np.asarray(Image.fromarray(image).resize(shown[::-1], Image.LANCZOS))
    zoom = np.divide(shown, (height, width))
    rows, columns = map(cells, shown, stride * zoom, (first + 0.5) * zoom - 0.5, grids.shape[1:])
    panels = [image, *(panel(image, grid, rows, columns) for grid in grids)]
    return np.asarray(tile(panels, [caption, *titles]))


def tile(panels, titles):
    """A white Pillow image of panels of one size under their titles, the colour scale below."""
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


def save_heatmap(image, caption, grids, titles, stride, first, path):
    """Write the heatmap as a PNG."""
    write_png(Image.fromarray(heatmap(image, caption, grids, titles, stride, first)), path)
