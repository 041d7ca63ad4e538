"""What a picture shows, asked of its artists: what is cut off, what overlaps, how many letters there are."""

import numpy
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def drawn(picture):
    """The renderer, once everything has its place. A picture is drawn once: nobody changes it after."""
    if not isinstance(picture.canvas, FigureCanvasAgg):
        FigureCanvasAgg(picture).draw()
    return picture.canvas.get_renderer()


def texts(picture):
    """Every text that is seen, but the numbers on the axes."""
    numbers = {id(t) for axes in picture.axes for t in [*axes.get_xticklabels(), *axes.get_yticklabels()]}
    return [t for t in picture.findobj(Text) if t.get_visible() and t.get_text().strip() and id(t) not in numbers]


def cut_off(picture):
    """The texts and legends that are not wholly inside of the picture, and edges of it that are not empty."""
    renderer = drawn(picture)
    width, height = picture.get_size_inches() * picture.dpi
    out = []
    for artist in [*texts(picture), *picture.legends]:
        box = artist.get_window_extent(renderer)
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            out.append((str(artist), box))
    pixels = numpy.asarray(renderer.buffer_rgba())
    edges = {"top": pixels[0], "bottom": pixels[-1], "left": pixels[:, 0], "right": pixels[:, -1]}
    return out + [(name, edge) for name, edge in edges.items() if (edge != pixels[0, 0]).any()]


def overlapping(picture, *gids):
    """Pairs of texts with these gids of which one hides the other."""
    renderer = drawn(picture)
    boxes = [(t.get_text(), Text.get_window_extent(t, renderer)) for t in texts(picture) if t.get_gid() in gids]
    return [(a, b) for n, (a, box) in enumerate(boxes) for b, other in boxes[:n] if box.overlaps(other)]


def letters(picture, letter):
    """How many points carry this letter, and whether all are inside of their axes."""
    found = [line for axes in picture.axes for line in axes.lines if line.get_gid() == f"{letter} labels"]
    return sum(len(line.get_xdata()) for line in found)


def outside(picture):
    """Letters that are not inside of the picture, by their names."""
    drawn(picture)
    width, height = picture.get_size_inches() * picture.dpi
    out = []
    for line in [line for axes in picture.axes for line in axes.lines if (line.get_gid() or "").endswith(" labels")]:
        half = line.get_markersize() / 2 * picture.dpi / 72
        for x, y in line.get_transform().transform(line.get_xydata()):
            if not (half <= x <= width - half and half <= y <= height - half):
                out.append((line.get_gid(), x, y))
    return out
