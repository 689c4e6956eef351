"""Adds the data of tables and charts to results, in the form that E2B's SDKs read."""

import datetime
import math
import sys

import rundlet_charts
from IPython.core.formatters import BaseFormatter
from traitlets import ObjectName, Unicode

DATA = "application/vnd.e2b.data.v1+json"
CHART = "application/vnd.e2b.chart.v1+json"

# A larger table has no data, only its text and HTML.
MAX_CELLS = 100_000


class DataFormatter(BaseFormatter):
    format_type = Unicode(DATA)
    print_method = ObjectName("_repr_e2b_data_")
    _return_type = dict


class ChartFormatter(BaseFormatter):
    format_type = Unicode(CHART)
    print_method = ObjectName("_repr_e2b_chart_")
    _return_type = dict

    def __call__(self, obj):
        """Not by type: the backend of notebooks makes all formatters forget figures."""
        module = sys.modules.get("matplotlib.figure")
        return chart(obj) if module and isinstance(obj, module.Figure) else None


def plain(value):
    """A value as JSON has it. What JSON lacks becomes text, and what is missing null."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()  # A number of numpy.
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime.date, datetime.time)):
        return None if value != value else value.isoformat()  # NaT differs from itself.
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    text = str(value)
    return None if text in ("<NA>", "NaT", "NaN") else text


def table(frame):
    """The columns of a DataFrame."""
    if frame.size > MAX_CELLS:
        return None
    return {str(name): [plain(v) for v in frame.iloc[:, i].tolist()] for i, name in enumerate(frame.columns)}


def chart(figure):
    """The data of a figure; None for one that has none, or cannot be read."""
    try:
        return plain(rundlet_charts.figure(figure))
    except Exception:
        return None  # A picture without data is of more use than an error.


def register(display):
    """Adds the formats to a DisplayFormatter. Nothing is imported for them: they wait for the libraries."""
    data, charts = DataFormatter(parent=display), ChartFormatter(parent=display)
    data.for_type_by_name("pandas", "DataFrame", table)  # Its module since pandas 3,
    data.for_type_by_name("pandas.core.frame", "DataFrame", table)  # and before.
    display.formatters[DATA], display.formatters[CHART] = data, charts
    display.active_types = display.format_types
