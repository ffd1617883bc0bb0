"""What attentions and training steps cost: cost model, compiled memory, timing, traces."""
