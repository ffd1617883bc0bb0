"""What is trained: pretraining, TAPT, fine-tuning and the baseline, and what a run starts from."""
