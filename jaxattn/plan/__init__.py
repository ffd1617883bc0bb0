"""What a run will need and read, told before it is begun.

The survey of the data is here and not in `data/`: it shows the vocabulary and the batches that
`stages/` would make of them, and shares the sample of a large corpus with the plan.
"""
