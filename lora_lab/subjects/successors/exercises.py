"""The exercise about what came after LoRA."""

from __future__ import annotations

from lora_lab.classroom.judging import exercise


@exercise(
    title="the wrong scaling rule",
    hints=("rsLoRA scales by α/√r = 4. What does the server scale by?", "1 in place of 4."),
    right="a quarter: the adapter loads, answers, and is four times too weak (vLLM#6909).",
    mistakes={
        "the other way round: the server scales too little.": 4,
        "that is 1/r; the two rules differ by √r.": 1 / 16,
        "the two rules agree at r = 1 only.": 1,
        "not a half: the trained scale is α/√r = 16/4, the server's is α/r = 16/16.": 0.5,
        "that is the part that is lost; the part that arrives is wanted.": 0.75,
        "that is in percent; 1 would be all of it.": 25,
        "that is r or α; the two rules differ by √r, and the server scales too little.": 16,
        "the server scales by too little, but not by 0: a part arrives.": 0,
    },
)
def wrong_rule():
    # An adapter was trained with rsLoRA, r = 16, α = 16. A server ignores `use_rslora` and scales by α/r.
    share = (16 / 16) / (16 / 16**0.5)  # of the update that arrives: 1 would be all of it
    return share
