"""What `diagnose` gives back. Every sentence and every cure stands in findings.toml, beside this file."""

import textwrap
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Finding:
    """One mistake: a code that never changes, the layers it is in, what is wrong, and what to do."""

    code: str
    where: tuple[str, ...]
    sentence: str
    cure: str

    def __str__(self) -> str:
        head = f"[{self.code}]"
        if self.where:
            head += f" {self.where[0]}"
        if len(self.where) > 1:
            head += f" (and {len(self.where) - 1} more)"
        return "\n".join([head, _indented(self.sentence), _indented(f"Cure: {self.cure}")])


class Findings(list):
    """A list of `Finding`; printed, a paragraph each."""

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "nothing found"


def _indented(text: str) -> str:
    return textwrap.fill(text, 96, initial_indent="    ", subsequent_indent="    ", break_long_words=False)


def finding(code: str, *where: str, variant: str | None = None, **values: object) -> Finding:
    """The finding of this code in these layers; `values` fill the {names} of its sentence and cure."""
    entry = TABLE[code]
    if variant:
        entry = {"cure": entry["cure"], **entry[variant]}
    return Finding(code, where, entry["sentence"].format(**values), entry["cure"].format(**values))


def one_of_each_code(findings: Iterable[Finding]) -> Findings:
    """The same mistake in many layers is one finding, with the first layer's sentence and all layers' names."""
    by_code: dict[str, Finding] = {}
    for new in findings:
        old = by_code.get(new.code, new)
        where = tuple(dict.fromkeys((*old.where, *new.where)))
        by_code[new.code] = Finding(old.code, where, old.sentence, old.cure)
    return Findings(by_code.values())
