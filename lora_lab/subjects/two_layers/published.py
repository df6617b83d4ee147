"""What S2 published: Rajan Ghimire, "LORA (Low Rank Adaptation): A Deeper Dive", 2023; two layers, in PyTorch."""

# The loss at epochs 0, 10, ..., 90, that is after 1, 11, ..., 91 passes over the data.
S2_EPOCHS = tuple(range(1, 92, 10))
S2_BASE = (868.4, 19.0, 1.28, 0.156, 0.0285, 0.00622, 0.00169, 0.794, 0.228, 0.233)
S2_SHIFTED = 1013.2
S2_LORA = (1007.5, 679.2, 317.9, 124.8, 39.6, 9.40, 1.65, 0.420, 0.322, 0.312)
S2_MERGED = 0.305
