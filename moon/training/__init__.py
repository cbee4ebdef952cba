"""Contrastive training: the loss, the sampler, checkpoints and the loop that joins them."""
