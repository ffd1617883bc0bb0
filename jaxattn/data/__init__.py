"""From files, the hub or installed packages to padded batches of token ids, in NumPy only.

`sources` finds the files of a corpus, `known_corpora` knows the published ones, `corpora` makes the
splits, `vocabularies` and `encoding` turn texts into ids, `masking` hides tokens for the
MLM, `batching` says which examples make batch number `step` and pads them. No module here imports
JAX, and the libraries that are slow to load are imported where they are used.
"""
