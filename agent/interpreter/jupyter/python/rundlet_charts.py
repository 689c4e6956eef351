"""Reads the data of charts out of figures of matplotlib.

A chart is a dict with the fields of the classes in the SDKs' charts: one of an axes is of the
type line, scatter, bar, pie or box_and_whisker, or unknown; one of a figure with several axes is a superchart.
"""

import re

# Points of all series of a chart. More of them make no chart.
MAX_POINTS = 100_000


def figure(fig):
    axes = [ax for ax in fig.axes if ax.get_visible() and (ax.has_data() or ax.get_title())]
    charts = [axis_chart(ax) for ax in axes]
    if not charts:
        return None
    if len(charts) == 1:
        return charts[0]
    title = fig.get_suptitle() if hasattr(fig, "get_suptitle") else getattr(getattr(fig, "_suptitle", None), "get_text", str)()
    return {"type": "superchart", "title": title, "elements": charts}


def axis_chart(ax):
    for kind in (pie, box, bar, line, scatter):
        chart = kind(ax)
        if chart:
            return chart
    return {"type": "unknown", "title": ax.get_title(), "elements": []}


def unit(label):
    """What is in brackets at the end of a label: "Time (s)" is in "s"."""
    found = re.search(r"[(\[]([^()\[\]]+)[)\]]\s*$", label)
    return found.group(1) if found else None


def labelled(ax, kind, elements):
    x, y = ax.get_xlabel(), ax.get_ylabel()
    return {"type": kind, "title": ax.get_title(), "elements": elements, "x_label": x, "y_label": y, "x_unit": unit(x), "y_unit": unit(y)}


def pointed(ax, kind, series):
    if not series:
        return None
    if sum(len(points) for _, points in series) > MAX_POINTS:
        return None
    chart = labelled(ax, kind, [])
    for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
        read, scale = reader(axis)
        ticks = [t for t in axis.get_ticklocs()]
        chart[name + "_ticks"] = [read(t) for t in ticks]
        chart[name + "_tick_labels"] = [label.get_text() for label in axis.get_ticklabels()]
        chart[name + "_scale"] = scale
    read_x, read_y = reader(ax.xaxis)[0], reader(ax.yaxis)[0]
    chart["elements"] = [{"label": label, "points": [(read_x(x), read_y(y)) for x, y in points]} for label, points in series]
    return chart


def reader(axis):
    """How a number of the axis is written, and the name of its scale."""
    converter = type(axis.get_converter() if hasattr(axis, "get_converter") else axis.converter).__name__
    if "Date" in converter:
        from matplotlib.dates import num2date

        return (lambda v: v.isoformat() if hasattr(v, "isoformat") else num2date(float(v)).replace(tzinfo=None).isoformat()), "datetime"
    if "StrCategory" in converter:
        names = {number: name for name, number in axis.units._mapping.items()}
        return (lambda v: v if isinstance(v, str) else names.get(int(v), str(v)) if float(v).is_integer() else float(v)), "categorical"
    return float, axis.get_scale()


def line(ax):
    lines = [one for one in ax.get_lines() if one.get_visible() and len(one.get_xdata())]
    return pointed(ax, "line", [(name(one, i), list(zip(one.get_xdata(orig=False), one.get_ydata(orig=False)))) for i, one in enumerate(lines)])


def scatter(ax):
    from matplotlib.collections import PathCollection

    sets = [one for one in ax.collections if isinstance(one, PathCollection) and one.get_visible() and len(one.get_offsets())]
    return pointed(ax, "scatter", [(name(one, i), [tuple(p) for p in one.get_offsets().tolist()]) for i, one in enumerate(sets)])


def name(artist, index):
    label = str(artist.get_label())
    return f"Series {index + 1}" if label.startswith("_") or not label else label


def bar(ax):
    from matplotlib.container import BarContainer

    bars = [c for c in ax.containers if isinstance(c, BarContainer) and len(c.patches)]
    if not bars or sum(len(c.patches) for c in bars) > MAX_POINTS:
        return None
    elements = []
    for i, container in enumerate(bars):
        lying = getattr(container, "orientation", "vertical") == "horizontal"
        axis = ax.yaxis if lying else ax.xaxis
        read, scale = reader(axis)
        ticks = fixed_ticks(axis)
        for patch in container.patches:
            low, size = (patch.get_y(), patch.get_height()) if lying else (patch.get_x(), patch.get_width())
            centre = low + size / 2
            label = nearest(ticks, centre) or (read(centre) if scale in ("categorical", "datetime") else f"{centre:g}")
            value = patch.get_width() if lying else patch.get_height()
            elements.append({"label": str(label), "group": name(container, i), "value": float(value)})
    return labelled(ax, "bar", elements)


def fixed_ticks(axis):
    """The places and labels of ticks that the code has set; others only divide the axis."""
    from matplotlib.ticker import FixedLocator

    if not isinstance(axis.get_major_locator(), FixedLocator):
        return []
    return [(float(at), label.get_text()) for at, label in zip(axis.get_ticklocs(), axis.get_ticklabels())]


def nearest(ticks, place):
    """The label at or near a place: bars of several groups stand beside the tick of theirs."""
    return min(ticks, key=lambda tick: abs(tick[0] - place))[1] if ticks else ""


def pie(ax):
    from matplotlib.patches import Wedge

    wedges = [p for p in ax.patches if isinstance(p, Wedge)]
    if not wedges:
        return None
    texts = [t.get_text() for t in ax.texts]
    elements = []
    for i, wedge in enumerate(wedges):
        label = str(wedge.get_label())
        if label.startswith("_"):
            label = texts[i] if i < len(texts) else ""
        elements.append({"label": label, "angle": abs(wedge.theta2 - wedge.theta1), "radius": float(wedge.r)})
    return {"type": "pie", "title": ax.get_title(), "elements": elements}


def box(ax):
    """Boxes are lines or patches of matplotlib, which their shape distinguishes from others:
    the median crosses a box, whiskers begin at its ends, and outliers have markers only."""
    boxes = []
    for artist in [*ax.get_lines(), *ax.patches]:
        outline = rectangle(artist)
        if outline:
            boxes.append(outline)
    if not boxes or bars_of(ax):
        return None
    lying = all(b["lying"] for b in (measure(ax, b) for b in boxes))
    axis = ax.yaxis if lying else ax.xaxis
    ticks = fixed_ticks(axis)
    elements = []
    for outline in boxes:
        m = measure(ax, outline)
        if m["median"] is None:
            return None
        elements.append(
            {
                "label": nearest(ticks, m["centre"]) or f"{m['centre']:g}",
                "min": m["min"],
                "first_quartile": m["low"],
                "median": m["median"],
                "third_quartile": m["high"],
                "max": m["max"],
                "outliers": m["outliers"],
            }
        )
    return labelled(ax, "box_and_whisker", elements)


def bars_of(ax):
    from matplotlib.container import BarContainer

    return any(isinstance(c, BarContainer) for c in ax.containers)


def rectangle(artist):
    """The corners (left, bottom, right, top) of a closed upright rectangle, or None."""
    if hasattr(artist, "get_xdata"):
        points = list(zip(map(float, artist.get_xdata(orig=False)), map(float, artist.get_ydata(orig=False))))
        if len(points) != 5 or points[0] != points[-1]:
            return None
    elif type(artist).__name__ == "PathPatch":
        points = [tuple(map(float, p)) for p in artist.get_path().vertices]
        if len(points) < 5:
            return None
    else:
        return None
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    if len(set(xs)) != 2 or len(set(ys)) > 2:
        return None
    return min(xs), min(ys), max(xs), max(ys)


def measure(ax, outline):
    """Finds the parts of a box among the lines of its axes."""
    left, bottom, right, top = outline
    found = {"median": None, "outliers": [], "lying": False}
    ends = {}
    for line in ax.get_lines():
        xs, ys = [float(v) for v in line.get_xdata(orig=False)], [float(v) for v in line.get_ydata(orig=False)]
        if len(xs) == 2 and xs == [left, right] and ys[0] == ys[1] and bottom <= ys[0] <= top:
            found.update(median=ys[0])
        elif len(xs) == 2 and ys == [bottom, top] and xs[0] == xs[1] and left <= xs[0] <= right:
            found.update(median=xs[0], lying=True)
    lying = found["lying"]
    low, high = (left, right) if lying else (bottom, top)
    centre = (bottom + top) / 2 if lying else (left + right) / 2
    for line in ax.get_lines():
        xs, ys = [float(v) for v in line.get_xdata(orig=False)], [float(v) for v in line.get_ydata(orig=False)]
        along, across = (xs, ys) if lying else (ys, xs)
        if not across or any(abs(v - centre) > 1e-9 for v in across):
            continue
        if len(along) == 2 and along[0] in (low, high) and line.get_linestyle() not in ("None", ""):
            ends["min" if along[1] < along[0] or (along[1] == along[0] == low and "min" not in ends) else "max"] = along[1]
        elif line.get_linestyle() in ("None", "") and line.get_marker() not in ("None", "", None):
            found["outliers"].extend(v for v in along if v < low or v > high)
    return {**found, "low": low, "high": high, "centre": centre, "min": ends.get("min", low), "max": ends.get("max", high)}
