"""From files, the hub or installed packages to padded batches of token ids, in NumPy only.

`read` gives rows of tables and texts one by one; `corpora` finds the files of a corpus and makes
the splits; `tokens` turns texts into ids; `batches` hides tokens for the MLM, says which examples
make batch number `step` and pads them. No module here imports JAX, and the libraries that are
slow to load are imported where they are used.
"""
