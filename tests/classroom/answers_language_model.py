"""Right answers to the exercise of language_model, and wrong ones with a piece of what they are told."""

import numpy as np
import torch

RIGHT = {
    "other_words": [
        [6, 0, 6, 0.1],
        (7, 0, 5, 0.05),
        (torch.tensor(5), 0, np.int64(6), np.float32(0.1)),
    ],
}

WRONG = {
    "other_words": [
        ("904 numbers, and on unseen sentences", (1, 1, 1, 0.1)),
        ("nats remain", (0, 0, 10, 0.1)),  # the head alone
        ("nats remain", (13, 0, 0, 0.1)),  # the embedding alone
        ("nats remain", (6, 0, 6, 0.001)),  # hardly trained
        ("nats remain", (6, 0, 6, 3)),
        ("2,368 numbers in A and B; wanted are from 1 to 1,800", (8, 0, 8, 0.1)),
        ("have 0 numbers", (0, 0, 0, 0.1)),
        ("whole numbers", (6.5, 0, 5, 0.1)),
        ("trains nothing, or breaks", (6, 0, 6, 0)),
        ("4 values are wanted", (6, 0, 6)),
    ],
}
