// Owns the precompiled torch/torch.h that every other target reuses.
