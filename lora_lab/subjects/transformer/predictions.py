"""The predictions of page 08."""

from lora_lab.classroom.predictions import Choice, Prediction

P81 = Prediction(
    number="8.1",
    question="what will rank 1 on W_q and W_v of two layers do: nothing, everything, or some of the names?",
    choices=(
        Choice(
            "nothing: it takes rank 8",
            "A single matrix would need rank 8. Here there are four small updates: can they do a part of the work?",
        ),
        Choice(
            "everything: rank 1 was enough for GPT-3",
            "The paper finds that, on GPT-3's many matrices. Count the pairs to be turned around here, and what four "
            "updates of rank 1 can offer.",
        ),
        Choice(
            "some of the names",
            "Four updates for eight pairs: some learned, some not. Read the four sentences at r = 1 and at r = 8, name "
            "by name.",
            right=True,
        ),
        Choice(
            "sentences will break",
            "Too small a rank has to show somewhere. Is the order of words what this task changes?",
        ),
    ),
    look="Now run on to the cell that lets them speak.",
    found="80 % of the sentences are right at r = 1 and 100 % at r = 8; at r = 1 runa paints the cup, and it should "
    "have been pico.",
    evidence=("r = 1   80% grammatical", "r = 8   100% grammatical", "bold runa painted the cup abroad twice ."),
)

P83 = Prediction(
    number="8.3",
    question="which single matrix is best, and which worst?",
    choices=(
        Choice(
            "W_v or W_o best, W_q or W_k worst",
            "What is said, before where to look. If so, every row with v or o must stand apart from the rows without, "
            "on both tasks.",
            right=True,
        ),
        Choice(
            "W_q or W_k best: attention does the work",
            "Together they decide where a word looks. What it finds there are values: can it say something new by "
            "looking elsewhere?",
        ),
        Choice(
            "all alike: one budget is one budget",
            "3072 numbers in every row, that is so. Compare the losses in one column: are they of one size?",
        ),
        Choice(
            "W_q best, W_o worst: the first counts most",
            "What comes first shapes all that follows. But o is the last that touches the result: what can q change "
            "that o cannot?",
        ),
    ),
    look="Now run the next two cells, and compare with the paper's column.",
    found="v and o, at 0.011 to 0.013; the worst is q, with 0.13 on bard and 0.53 on swap 8. In the paper's table, "
    "too, q and k are behind.",
    evidence=(
        "q r=8        bard   0.13  swap 8   0.53   paper 70.4",
        "k r=8        bard  0.084  swap 8   0.48   paper 70.0",
        "v r=8        bard  0.012  swap 8  0.011   paper 73.0",
        "o r=8        bard  0.012  swap 8  0.013   paper 73.2",
    ),
)

P87 = Prediction(
    number="8.7",
    question="LoRA is said to forget less. Does it?",
    choices=(
        Choice(
            "yes: it changes fewer numbers",
            "For large models that has been measured. But few numbers can move a matrix far: see whether it holds on "
            "both tasks, and for both kinds of LoRA.",
        ),
        Choice(
            "no: it forgets more",
            "An adapter can move its few matrices far. If it always forgets more, no row of LoRA may lie below that of "
            "full fine-tuning.",
        ),
        Choice(
            "it forgets nothing: the base is frozen",
            "Switched off, nothing is lost, that is so. Switched on, do the other voices pass through W₀ alone?",
        ),
        Choice(
            "it depends on the task and the matrices",
            "You want to see the rows first. Two tasks and two kinds of LoRA: the four claims say which way each goes.",
            right=True,
        ),
    ),
    look="Now run the next cell: the second number of each pair is what was forgotten.",
    found="after bard, LoRA on W_q and W_v forgot less than full fine-tuning, 0.36 against 0.56, and on all linears "
    "more, 0.75. After swap 8 both forgot more.",
    evidence=(
        "bard   full             0.008 / 0.56",
        "bard   q,v r=8          0.010 / 0.36",
        "bard   all linears r=8  0.008 / 0.75",
        "✓ swap 8, tuned: every seed of q,v r=8 forgot more than every seed of full",
        "✓ swap 8, tuned: every seed of all linears r=8 forgot more than every seed of full",
    ),
)

PREDICTIONS = (P81, P83, P87)
