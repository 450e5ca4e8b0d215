"""Draws api/templates/preview.png, the picture in link previews of badge pages: a medal on a tree of hashes.

    python ops/draw_preview.py    writes the file; the same bytes each time

1200 x 627 pixels, what previews are made for. One picture for every badge and every status: previews are kept for days
by those who make them, so a picture that told the status would tell an old one. No text, so that no font is needed.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

WIDTH, HEIGHT = 1200, 627
TARGET = Path(__file__).resolve().parents[1] / "api" / "templates" / "preview.png"

Colour = tuple[int, int, int]
#: Distance of a point to a shape's edge in pixels, negative inside.
Shape = Callable[[float, float], float]
Box = tuple[float, float, float, float]

GROUND: Colour = (16, 42, 71)
LINE: Colour = (109, 151, 196)
NODE: Colour = (210, 226, 243)
GOLD: Colour = (240, 190, 84)
DARK_GOLD: Colour = (176, 122, 28)

_MEDAL = (600.0, 175.0)
_LEVELS = ((330.0, (360.0, 840.0)), (430.0, (240.0, 480.0, 720.0, 960.0)))
_LEAVES = (530.0, tuple(180.0 + 120.0 * k for k in range(8)))


class Canvas:
    """Pixels, over which shapes are laid with smooth edges."""

    def __init__(self) -> None:
        self.rows = [bytearray(bytes(GROUND) * WIDTH) for _ in range(HEIGHT)]

    def draw(self, shape: Shape, box: Box, colour: Colour) -> None:
        """Lay a shape that lies within `box` (left, top, right, bottom) over what is there."""
        left, top, right, bottom = box
        for y in range(max(0, math.floor(top) - 1), min(HEIGHT, math.ceil(bottom) + 2)):
            row = self.rows[y]
            for x in range(max(0, math.floor(left) - 1), min(WIDTH, math.ceil(right) + 2)):
                cover = min(1.0, max(0.0, 0.5 - shape(x + 0.5, y + 0.5)))
                if cover:
                    for k in range(3):
                        row[3 * x + k] = round(row[3 * x + k] * (1 - cover) + colour[k] * cover)

    def png(self) -> bytes:
        """The picture as PNG (8 bits, RGB)."""
        header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
        data = zlib.compress(b"".join(b"\0" + row for row in self.rows), 9)
        chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )

    def line(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """A line of 7 pixels' width with round ends."""
        (ax, ay), (bx, by) = start, end
        length = (bx - ax) ** 2 + (by - ay) ** 2

        def distance(x: float, y: float) -> float:
            along = min(1.0, max(0.0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length))
            return math.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)) - 3.5

        self.draw(distance, (min(ax, bx) - 4, min(ay, by) - 4, max(ax, bx) + 4, max(ay, by) + 4), LINE)

    def disc(self, centre: tuple[float, float], radius: float, colour: Colour) -> None:
        """A filled circle."""
        cx, cy = centre
        self.draw(
            lambda x, y: math.hypot(x - cx, y - cy) - radius,
            (cx - radius, cy - radius, cx + radius, cy + radius),
            colour,
        )

    def block(self, centre: tuple[float, float], half: float, colour: Colour) -> None:
        """A filled square with round corners."""
        cx, cy = centre

        def distance(x: float, y: float) -> float:
            dx, dy = abs(x - cx) - half + 8, abs(y - cy) - half + 8
            return math.hypot(max(dx, 0), max(dy, 0)) + min(max(dx, dy), 0) - 8

        self.draw(distance, (cx - half, cy - half, cx + half, cy + half), colour)

    def star(self, centre: tuple[float, float], radius: float, colour: Colour) -> None:
        """A five-pointed star, one point up: the part of ten half planes' zigzag that is inside."""
        cx, cy = centre
        inner = radius * 0.45
        step = math.pi / 5

        def distance(x: float, y: float) -> float:
            reach = math.hypot(x - cx, y - cy)
            turn = abs((math.atan2(x - cx, cy - y) + step) % (2 * step) - step)
            px, py = reach * math.sin(turn), reach * math.cos(turn)
            ix, iy = inner * math.sin(step), inner * math.cos(step)
            # The edge runs from the point (0, radius) to the inner corner (ix, iy).
            ex, ey = ix, iy - radius
            return ((px * -ey) + (py - radius) * ex) / math.hypot(ex, ey)

        self.draw(distance, (cx - radius, cy - radius, cx + radius, cy + radius), colour)


def draw() -> bytes:
    """The picture."""
    canvas = Canvas()
    above: list[tuple[float, float]] = [_MEDAL]
    levels = [[(x, y) for x in xs] for y, xs in (*_LEVELS, _LEAVES)]
    for level in levels:
        for k, node in enumerate(level):
            canvas.line(above[k // 2], node)
        above = level
    for level in levels[:-1]:
        for node in level:
            canvas.disc(node, 20, NODE)
    for node in levels[-1]:
        canvas.block(node, 24, NODE)
    canvas.disc(_MEDAL, 112, DARK_GOLD)
    canvas.disc(_MEDAL, 102, GOLD)
    canvas.star(_MEDAL, 72, DARK_GOLD)
    return canvas.png()


if __name__ == "__main__":
    TARGET.write_bytes(draw())
