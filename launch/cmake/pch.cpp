// Owns the precompiled torch/types.h that every other target reuses.
