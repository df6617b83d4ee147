"""Write the tables of README.md, and growth.png, from the recorded JSON files: python tests/benchmarks/tables.py"""

import json
import math
import statistics
from pathlib import Path

from lora_lab import figures

HERE = Path(__file__).parent
MARK = "<!-- tables: written by tables.py from the JSON files -->"
FORMS = ("LoRALinear", "PEFT", "loralib", "full", "seeds' form", "minLoRA's form")


def mean(values: list[float]) -> str:
    """Geometric mean of ratios."""
    return f"{math.exp(statistics.fmean(map(math.log, values))):.2f}" if values else "–"


def table(head: list[str], rows: list[list]) -> list[str]:
    return ["| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows)] + [""]


def machine(record: dict) -> str:
    m = record["machine"]
    load = "–".join(str(v) for v in (m["load_average"] or ["?"])[:1])
    return (
        f"{m['processor']}, {m['cores']} cores, {m['threads_used']} thread used, load average {load}; "
        f"torch {m['torch']}, PEFT {m['peft']}, loralib {m['loralib']}, Python {m['python']}; {m['date']}."
    )


def step_tables(record: dict) -> list[str]:
    rows, doubled = record["training_step"], record["training_step_at_scaling_2"]
    widths = sorted({row["d"] for row in rows})
    out = [
        machine(record),
        "",
        "Time of one training step over that of the frozen base alone; mean over ranks and tokens:",
        "",
    ]
    lines = []
    for d in widths:
        mine = [row for row in rows if row["d"] == d]
        base = [f"{min(r['base_ms'] for r in mine):.2g} to {max(r['base_ms'] for r in mine):.2g}"]
        lines.append([d, *base, *(mean([r["to_base"][f] for r in mine if f in r["to_base"]]) for f in FORMS)])
    out += table(["d", "base, ms", *FORMS], lines)
    out += ["`LoRALinear` over the faster of PEFT and loralib, s = alpha / r = 1 (the last column: s = 2):", ""]
    tokens = sorted({row["tokens"] for row in rows})
    lines = []
    for d in widths:
        mine = [row for row in rows if row["d"] == d]
        ratios = [r["to_fastest_peer"] for r in mine]
        by_tokens = [mean([r["to_fastest_peer"] for r in mine if r["tokens"] == n]) for n in tokens]
        at_two = [r["to_fastest_peer"] for r in doubled if r["d"] == d]
        lines.append([d, *by_tokens, mean(ratios), f"{min(ratios):.2f} to {max(ratios):.2f}", mean(at_two)])
    out += table(["d", *(f"{n} tokens" for n in tokens), "mean", "range", "s = 2"], lines)
    ranks = sorted({row["r"] for row in rows})
    out += [
        "Growth with the rank: `LoRALinear` over the base at 128 tokens, beside the FLOP model's (2d² + 6dr) / 2d²:",
        "",
    ]
    lines = []
    for d in widths:
        line = [d]
        for r in ranks:
            found = [x["to_base"]["LoRALinear"] for x in rows if (x["d"], x["r"], x["tokens"]) == (d, r, 128)]
            line.append(f"{found[0]:.2f} ({1 + 3 * r / d:.2f})" if found else "–")
        lines.append(line)
    out += table(["d", *(f"r = {r}" for r in ranks)], lines)
    out += ["Inference over a plain Linear (r = 8):", ""]
    out += table(
        ["d", "tokens", "merged", "unmerged"],
        [[x["d"], x["tokens"], f"{x['merged']:.2f}", f"{x['unmerged']:.2f}"] for x in record["inference"]],
    )
    left = record["left_out_d_r_tokens"]
    return [
        *out,
        f"Left out to keep the run short: {len(left)} of {len(left) + len(rows)} cells (d, r, tokens): {left}.",
        "",
    ]


def draw_growth(rows: list[dict], path: Path) -> None:
    """One step of LoRALinear at 128 tokens against the rank and against the width; dashed: the FLOP model."""
    figures.use_style()
    fig, (left, right) = figures.plt.subplots(1, 2, figsize=(11, 4.2))
    rows = [row for row in rows if row["tokens"] == 128]
    for colour, d in zip(figures.CYCLE, sorted({row["d"] for row in rows})):
        mine = sorted((row["r"], row["to_base"]["LoRALinear"]) for row in rows if row["d"] == d)
        ranks = [r for r, _ in mine]
        left.plot(ranks, [ratio for _, ratio in mine], "o-", color=colour, label=f"d = {d}")
        left.plot(ranks, [1 + 3 * r / d for r in ranks], "--", lw=1.2, color=colour)
    left.set(xscale="log", xlabel="rank r", ylabel="time of a step, frozen base = 1", title="against the rank")
    left.set_xticks([1, 4, 8, 16, 64], [1, 4, 8, 16, 64])
    left.minorticks_off()
    left.legend(ncols=2, fontsize=10)
    widths = sorted(row["d"] for row in rows if row["r"] == 8)
    step = {row["d"]: row["base_ms"] * row["to_base"]["LoRALinear"] for row in rows if row["r"] == 8}
    flops = {d: 2 * d * d + 6 * d * 8 for d in widths}
    per_flop = step[1024] / flops[1024]
    right.plot(widths, [step[d] for d in widths], "o-", label="LoRALinear, r = 8")
    right.plot(widths, [per_flop * flops[d] for d in widths], "k--", lw=1.5, label="2d² + 6dr, scaled at d = 1024")
    right.set(xscale="log", yscale="log", xlabel="width d", ylabel="ms per step", title="against the width")
    shown = [d for d in widths if d != 768]  # would be printed over 1024
    right.set_xticks(shown, shown)
    right.minorticks_off()
    right.legend()
    fig.savefig(path, metadata={"Software": None}, bbox_inches="tight")


def memory_tables(record: dict) -> list[str]:
    peaks = sorted(record["peak_above_import"].items(), key=lambda item: item[1]["median_mb"])
    out = [
        machine(record),
        "",
        f"{record['what']}. Peak above a process that only imports ({record['import_only_mb']} MB), MB:",
        "",
    ]
    full = record["peak_above_import"]["full"]["median_mb"]
    rows = [[n, p["median_mb"], f"{p['median_mb'] / full:.2f}", ", ".join(map(str, p["runs_mb"]))] for n, p in peaks]
    out += table(["", "median", "of full", "runs"], rows)
    out += ["What must be there at once, counted (MB); the rest is temporaries and the allocator:", ""]
    parts = ("weights", "gradients", "Adam", "activations", "total")
    return out + table(["", *parts], [[n, *(c[p] for p in parts)] for n, c in record["counted_mb"].items()])


def seats_tables(record: dict) -> list[str]:
    m, rows = record["machine"], record["rows"]
    out = [
        f"{m['cpu']}, {m['cores']} cores, load average {m['load_average'][0]}; torch {m['torch']}, "
        f"JupyterHub {m['jupyterhub']}, Python {m['python']}; {m['date']}.",
        "",
        f"N learners on the room's hub press Run All on page {record['page']} in the same moment, in fresh kernels. "
        "Memory is PSS, per seat, in MB (10⁶ bytes):",
        "",
    ]
    sizes = ("hub, proxy, culler", "server, peak", "kernel, peak", "kernel, after", "all processes, peak of the sum")
    lines = [[r["seats"], *(f"{r['MB'][s]:.0f}" for s in sizes)] for r in rows]
    out += table(["N", "hub, proxy, culler (once)", *sizes[1:]], lines)
    out += ["Time, with the share of the machine that the hub's processes got beside whatever else was running:", ""]
    head = [
        "N",
        "CPU s per seat",
        "first done, s",
        "median, s",
        "last done, s",
        "cores they got",
        "CPU s in all / cores",
    ]
    lines = []
    for r in rows:
        cpu, wall = sum(r["page's CPU s"].values()), r["page's wall s"]
        ends = [f"{wall[k]:.0f}" for k in ("first", "median", "last")]
        lines.append([r["seats"], f"{cpu:.1f}", *ends, r["cores they got"], f"{r['seats'] * cpu / m['cores']:.0f}"])
    out += table(head, lines)
    fit = record["seats in 24 GB, 2 GB kept for the system"]
    return [
        *out,
        "Seats in 24 GB, 2 GB kept for the system, everybody at the peak at once: "
        + "; ".join(f"{count} with {what}" for what, count in fit.items())
        + ".",
    ]


def main() -> None:
    names = ("layer_step", "memory", "seats")
    step, memory, seats = (json.loads((HERE / f"{name}.json").read_text(encoding="utf-8")) for name in names)
    draw_growth(step["training_step"], HERE / "growth.png")
    text = (HERE / "README.md").read_text(encoding="utf-8")
    lines = [
        "## One training step",
        "",
        *step_tables(step),
        "![Time of a step against the rank and against the width, with the FLOP model dashed](growth.png)",
        "",
        "## Peak memory of a training run",
        "",
        *memory_tables(memory),
        "## Seats of a hub",
        "",
        *seats_tables(seats),
    ]
    (HERE / "README.md").write_text(
        text.split(MARK)[0] + MARK + "\n\n" + "\n".join(lines).rstrip() + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
