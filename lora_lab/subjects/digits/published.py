"""What S3 published: "LoRA explained visually + PyTorch code from scratch", Umar Jamil's code: MNIST's nines.

https://github.com/hkproj/pytorch-lora
"""

# Errors on MNIST's test set per digit, before and after. The counts are MNIST's own.
S3_SIZES = (784, 1000, 2000, 10)
S3_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
S3_BEFORE = (33, 28, 42, 95, 19, 10, 61, 52, 19, 107)
S3_AFTER = (53, 32, 60, 201, 186, 85, 69, 677, 193, 11)
