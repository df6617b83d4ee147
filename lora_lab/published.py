"""Numbers that others published and several pages repeat; what one page repeats lies in its subject.

S1: "Understanding LoRA with a minimal example", Posit AI blog, 2023: one linear layer, in R torch.
"""

# Loss every 10 epochs of 100, Adam 1e-3, batch 128, 10 000 examples, 1001 -> 1000.
S1_SHAPE = {"d_in": 1001, "d_out": 1000, "n": 10_000}
S1_EPOCHS = tuple(range(10, 101, 10))
S1_BASE = (577.1, 312.2, 155.1, 68.5, 25.7, 7.62, 1.61, 0.208, 0.0139, 0.000479)
S1_SHIFTED = 992.7
S1_LORA = (798.6, 485.9, 257.4, 118.5, 46.3, 14.5, 3.19, 0.426, 0.0273, 0.00130)
