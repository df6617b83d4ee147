"""An exercise's cell, as the page gives it (the stub) and solved, from the source of the function that solves it."""

import ast
import inspect
import textwrap
from collections.abc import Callable


def _read(function: Callable) -> tuple[list[str], list[ast.stmt], list[ast.expr]]:
    """The function's lines from its `def` on, its statements, and what it returns (the parts of a tuple)."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    first = ast.parse("\n".join(lines)).body[0].lineno  # the line of the `def`, below the decorator
    lines = lines[first - 1 :]
    definition = ast.parse("\n".join(lines)).body[0]
    returned = next(node.value for node in ast.walk(definition) if isinstance(node, ast.Return))
    return lines, definition.body, returned.elts if isinstance(returned, ast.Tuple) else [returned]


def function_cell(function: Callable, number: str, solved: bool) -> str:
    """The `def` line, the comments or docstring below it, and `return ...`; solved: the whole function."""
    lines, statements, returned = _read(function)
    if not solved:
        first = statements[1] if function.__doc__ else statements[0]
        lines = [*lines[: first.lineno - 1], "    return " + ", ".join(["..."] * len(returned))]
    return "\n".join(lines) + f'\n\ncheck("{number}", {function.__name__})'


def value_cell(function: Callable, number: str, solved: bool) -> str:
    """The comments at the top, and `name = ...` with its comment for each name returned; solved: the whole body."""
    lines, statements, returned = _read(function)
    names = [part.id for part in returned]
    if solved:
        lines = lines[1 : statements[-1].lineno - 1]
    else:
        lines = lines[1 : statements[0].lineno - 1] + [_without_value(name, statements, lines) for name in names]
    answer = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return textwrap.dedent("\n".join(lines)) + f'\n\ncheck("{number}", {answer})'


def _without_value(name: str, statements: list[ast.stmt], lines: list[str]) -> str:
    for statement in statements:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == name:
            last_line = lines[statement.end_lineno - 1].encode()
            return f"    {name} = ...{last_line[statement.end_col_offset :].decode()}"  # with its comment
    raise ValueError(f"the exercise returns {name}, which it does not assign.")
