"""Tables of recorded runs: a list of rows with named columns, and one column drawn over another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import mean
from types import SimpleNamespace

from matplotlib.axes import Axes


class Table(list):
    """Rows whose attributes are the columns. `table.where(task="bard")` is a Table again."""

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, object]]) -> Table:
        """The rows of a record, {column: value} each."""
        return cls(SimpleNamespace(**row) for row in rows)

    def where(self, **values: object) -> Table:
        """The rows with these values in these columns. Raises ValueError if there are none."""
        found = Table(row for row in self if all(getattr(row, name) == value for name, value in values.items()))
        if not found:
            raise ValueError(f"no row has {', '.join(f'{name}={value!r}' for name, value in values.items())}.")
        return found

    def column(self, name: str) -> list:
        """The values of one column, a value per row."""
        return [getattr(row, name) for row in self]

    def kinds(self, name: str) -> list:
        """The different values of one column, in the order in which they first appear."""
        return list(dict.fromkeys(self.column(name)))

    def mean(self, name: str) -> float:
        return mean(self.column(name))

    def by(self, name: str) -> dict[object, Table]:
        """One table for each value of a column, as in `for rank, runs in table.by("rank").items()`."""
        return {kind: self.where(**{name: kind}) for kind in self.kinds(name)}


def draw_over(ax: Axes, rows: Table, x: str, y: str, marker: str = "o", **look: object) -> None:
    """The mean of column y over column x as a line, and a dot for each row."""
    means = {value: seeds.mean(y) for value, seeds in sorted(rows.by(x).items())}
    (line,) = ax.plot(list(means), list(means.values()), marker=marker, **look)
    ax.plot(rows.column(x), rows.column(y), marker, ms=5, alpha=0.5, color=line.get_color())
