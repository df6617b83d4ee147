"""Tables of recorded runs: a list of rows with named columns."""

from __future__ import annotations

from statistics import mean


class Table(list):
    """Rows that are NamedTuples of one kind. `table.where(task="bard")` is a Table again."""

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
