"""Pretrained weights from and to Hugging Face folders, for the families in `families`."""
