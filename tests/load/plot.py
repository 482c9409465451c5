"""The picture of a bench: orders a second by lane, against the no-op."""

import statistics
from pathlib import Path

from tests.load.measuring import Figure

LABELS = {
    "group_commit": "group commit",
    "row_lock": "row lock",
    "conditional_update": "conditional update",
    "distributed_lock": "distributed lock (Redis)",
}
# Okabe and Ito's palette: told apart by those who do not see red or green.
COLORS = {
    "group_commit": "#0072B2",
    "row_lock": "#E69F00",
    "conditional_update": "#009E73",
    "distributed_lock": "#CC79A7",
}


def draw(figures: list[Figure], path: Path, *, caption: str) -> bool:
    """Write a PNG of the hot orders among `figures`; False where there are none."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    hot = [f for f in figures if f.scenario == "hot_order" and f.shop == "mariadb"]
    if not hot:
        return False
    groups = sorted({f.connections for f in hot})
    lanes = [lane for lane in LABELS if any(f.lane == lane for f in hot)]
    width = 0.8 / len(lanes)
    picture, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for place, lane in enumerate(lanes):
        mine = [f for f in hot if f.lane == lane]
        at = [groups.index(f.connections) + (place - (len(lanes) - 1) / 2) * width for f in mine]
        rates = [f.rate for f in mine]
        bars = axes.bar(at, rates, width * 0.92, label=LABELS[lane], color=COLORS[lane])
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=2, fontsize=9)
    for place, connections in enumerate(groups):
        ping = statistics.median(f.ping or 0 for f in hot if f.connections == connections)
        label = "no-op request (/api/v1/ping/)" if place == 0 else ""
        axes.hlines(ping, place - 0.45, place + 0.45, colors="#333333", linestyles="dashed", label=label)
        axes.annotate(
            f"{ping:,.0f}", (place + 0.45, ping), ha="right", va="bottom", fontsize=9, color="#333333"
        )
    axes.set_xticks(range(len(groups)), [f"{n} connections" for n in groups])
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylabel("durable orders a second (more is better)")
    axes.set_title("One hot option, one unit an order: what each way of placing orders can do")
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:,.0f}")
    axes.margins(y=0.15)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3)
    picture.supxlabel(caption, fontsize=8, color="#666666")
    # Without the date and the program's version in it, the same figures make the same file.
    picture.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(picture)
    return True
