"""The predictions of page 09."""

from lora_lab.classroom.predictions import Choice, Prediction

P92 = Prediction(
    number="9.2",
    question="the file is cut off by one number, or the config says α = 12 where the file was trained with 6. Which of "
    "the two can be noticed?",
    choices=(
        Choice(
            "both: a loader checks what it loads",
            "A careful one checks what it can. Against what could it check α: what in the tensors knows it?",
        ),
        Choice(
            "only the cut-off file",
            "A file that says how long it is can be measured; and nothing, you think, ties α to the tensors. See what "
            "is refused, and what the outputs are.",
            right=True,
        ),
        Choice(
            "only the wrong α: the outputs are off",
            "The outputs will be off. Who loads the folder, though, does not know the right ones; and what does the "
            "file's own beginning say?",
        ),
        Choice(
            "neither: numbers are numbers",
            "Raw numbers carry no label. But they are not all there is in the file: what stood before them?",
        ),
    ),
    look="Now run the next two cells: each loads one of them.",
    found="in PEFT's format the cut-off file is refused, and α = 12 loads without complaint, with wrong outputs. A "
    "folder written here notes α beside the tensors, too, and is refused.",
    evidence=(
        "cut off: adapter_model.safetensors in broken is not a whole safetensors file",
        "α = 12: ['0', '2'] no complaint",
        "✓ the outputs are wrong all the same",
    ),
)

P98 = Prediction(
    number="9.8",
    question="which of the six beats plain LoRA on this task?",
    choices=(
        Choice(
            "most of them: that is why they came after",
            "Each paper has its method ahead. Here LoRA, too, was given the learning rate that is best for it: count "
            "what is left.",
        ),
        Choice(
            "DoRA",
            "It is often recommended, and has two rows here: with the paper's short cut and with the exact gradient. "
            "Look at both.",
        ),
        Choice(
            "PiSSA",
            "It starts with neither gradient at zero, in the largest directions of W₀. See on how many bases that "
            "helps, and how often a coin does as well.",
            right=True,
        ),
        Choice(
            "none of them",
            "With its own best learning rate plain LoRA may be hard to beat. The bar is 8 of 10: is there a row that "
            "reaches it?",
        ),
    ),
    look="Now run the next cell.",
    found="PiSSA alone, on 8 of 10 bases, with 0.78 times LoRA's median loss. And of six coins at least one gets that "
    "far 29 % of the time.",
    evidence=(
        "a coin wins 5.5% of the time, and six coins at least once 29%",
        "PiSSA       below LoRA on  8 of 10, median 0.78 times its: wins",
        "rsLoRA      below LoRA on  7 of 10, median 0.97 times its: no difference",
        "DoRA        below LoRA on  0 of 10, median 1.71 times its: loses",
        "DoRA, exact below LoRA on  7 of 10, median 0.91 times its: no difference",
    ),
)

PREDICTIONS = (P92, P98)
