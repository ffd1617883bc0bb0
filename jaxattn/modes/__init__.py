"""One file per --mode: the only place where data, model, training, evaluation and report meet."""
