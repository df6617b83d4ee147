"""The predictions of page 01."""

from lora_lab.classroom.predictions import Choice, Prediction

P12 = Prediction(
    number="1.2",
    question="a million weights are each wrong by 1. What will the mean squared error be: 1, about 30, about 1000, "
    "or a million?",
    choices=(
        Choice(
            "1",
            "Each weight is off by 1, that is so. An output adds up what 1001 of them do: has that sum still the "
            "size of one of them?",
        ),
        Choice(
            "about 30",
            "You let the errors of 1001 weights partly cancel, so that their sum grows like a root. That is the size "
            "of *one* output's error; what does a mean *squared* error make of it?",
        ),
        Choice(
            "about 1000",
            "Each output adds up 1001 independent errors, and you add their squares. If that is all, the number "
            "follows from ΔΘ alone, before anything is measured.",
            right=True,
        ),
        Choice(
            "a million",
            "A million squared errors of 1 are a million in all. A *mean* squared error divides, though: by how "
            "many outputs?",
        ),
    ),
    look="Now run on: the next cell predicts it, the second one measures it.",
    found="1001 predicted from ΔΘ alone, 1005 measured. Each output sums 1001 squared errors of 1, and the mean over "
    "the outputs leaves it at that.",
    evidence=("predicted from ΔΘ alone: 1001", "measured 1005"),
)

P13 = Prediction(
    number="1.3",
    question="before you move *tasks* to 100: what happens to the two bars on the right?",
    choices=(
        Choice(
            "both grow: a file more for each task",
            "Each task does bring a file on both sides. How large is it on either, and what is stored once for all?",
        ),
        Choice(
            "neither grows: the base is shared",
            "LoRA shares the base, that is its point. Where does full fine-tuning keep what it changed, when every "
            "number has moved?",
        ),
        Choice(
            "LoRA's stays 500 times shorter",
            "It does train 500 times fewer numbers. To use them, what else must lie on the disk?",
        ),
        Choice(
            "full's grows a hundredfold, LoRA's hardly",
            "A full copy for each task, against one base with small additions. The figures at 1, 10 and 100 tasks "
            "put a number on \"hardly\".",
            right=True,
        ),
    ),
    look="Now move *tasks*, or read the lines below the panel.",
    found="from 4.0 to 400 MB with full copies, and from 4.0 to 4.8 MB with LoRA: one base, and a hundred adapters "
    "of 2001 numbers.",
    evidence=(
        "tasks = 1: training 16.0 MB full, 4.0 MB LoRA; disk 4.0 MB full, 4.0 MB LoRA",
        "tasks = 100: training 16.0 MB full, 4.0 MB LoRA; disk 400 MB full, 4.8 MB LoRA",
    ),
)

PREDICTIONS = (P12, P13)
