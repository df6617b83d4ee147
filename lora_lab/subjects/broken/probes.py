"""What can be looked at in a program that is to be mended, for coins: `buy("gradients", stops_at_twelve)`."""

from collections.abc import Callable

from lora_lab.classroom.claims import say
from lora_lab.files import base_fingerprint

from .judge import Run, Unfit, theirs

SEED, TIMES = 0, (0, 5, 15, 30, 75, 149)  # of the task; the steps that are shown
_spent: list[int] = []


def at_some_steps(values: list[float]) -> str:
    return ", ".join(f"{values[i]:.3g} (step {i})" for i in TIMES if i < len(values))


def curve(this: Run) -> str:
    return f"the loss as the program notes it: {at_some_steps(this.losses)}"


def unseen(this: Run) -> str:
    return f"the shipped model's loss: {this.seen:.3g} on the rows it was given, {this.unseen:.3g} on 256 others"


def base(this: Run) -> str:
    return f"the base: {'not ' * this.base_changed}the same after the run ({base_fingerprint(this.base)[:8]})"


def rates(this: Run) -> str:
    return f"the learning rate: {at_some_steps(this.rates)}"


def numbers(this: Run) -> str:
    held = [f"{tuple(p.shape)}{' stays' if before.equal(p) else ' moves'}" for p, before in this.held.values()]
    return f"the optimizer holds {', '.join(held)}; {this.moved} numbers moved in all"


def gradients(this: Run) -> str:
    lines = ["norms of the gradients that the optimizer steps with, tensor by tensor"]
    for i in (time for time in TIMES if time < len(this.gradients)):
        norms = ["none" if g is None else f"{g.norm():.3g}" for g in this.gradients[i]]
        lines.append(f"   step {i}: {', '.join(norms)}")
    return "\n".join(lines)


def rows(this: Run) -> str:
    return f"{max(this.batches, default=0)} rows at most at once; {len(this.rows)} different ones of 256 in all"


PROBES = {  # name: (coins, what it says, how)
    "curve": (1, "the loss as the program notes it, at six steps", curve),
    "unseen": (1, "the shipped model's loss on the rows it was given, and on others", unseen),
    "base": (1, "whether the base is after the run what it was", base),
    "rates": (2, "the learning rate at six steps", rates),
    "numbers": (2, "what the optimizer holds, and what of it moves", numbers),
    "gradients": (2, "the norm of every gradient at six steps", gradients),
    "rows": (3, "how many rows go through at once, and how many different ones", rows),
}


def buy(probe: str = "", program: Callable | None = None) -> None:
    """Run a program on one task and print what the probe sees, and the coins spent; without arguments, the prices."""
    if probe not in PROBES or not callable(program):
        say("\n".join(f"{name:10} {coins}   {what}" for name, (coins, what, _) in PROBES.items()))
        return
    coins, _, look = PROBES[probe]
    try:
        seen = theirs(look, Run(program, SEED))
    except Unfit as unfit:
        seen = str(unfit)
    _spent.append(coins)
    say(f"{seen}\n({coins} {'coin' if coins == 1 else 'coins'}; {sum(_spent)} spent)")
