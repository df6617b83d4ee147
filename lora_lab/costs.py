"""Counting: parameters, bytes, multiply-adds. Everything is arithmetic under a stated convention."""

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def check_positive(**numbers: int) -> None:
    for name, n in numbers.items():
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"{name}={n!r} is not a whole number of at least 1.")


def lora_numbers(d_out: int, d_in: int, r: int) -> int:
    """How many numbers the factors A (r, d_in) and B (d_out, r) hold: (d_out + d_in) r."""
    check_positive(d_out=d_out, d_in=d_in, r=r)
    return (d_out + d_in) * r


def forward_macs(d_out: int, d_in: int, r: int | None = None, materialised: bool = False, batch: int = 1) -> int:
    """Multiply-adds of one forward over `batch` rows: the base alone (r None), with the factored update,
    or with BA formed first and added to W (`materialised`, whose product does not shrink with the batch)."""
    check_positive(d_out=d_out, d_in=d_in, batch=batch)
    base = batch * d_out * d_in
    if r is None:
        return base
    return base + (d_out * d_in * r if materialised else batch * lora_numbers(d_out, d_in, r))


def human(n: float) -> str:
    """Bytes in words: 8004 -> '8.0 kB', 4004000 -> '4.0 MB' (powers of 1000, as file managers and the paper count)."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if abs(n) < 999.5 or unit == "PB":
            break
        n /= 1000
    return f"{n:.0f} {unit}" if unit == "B" or abs(n) >= 100 else f"{n:.1f} {unit}"
