"""Exact scaled dot-product attention (Vaswani et al. 2017)."""
