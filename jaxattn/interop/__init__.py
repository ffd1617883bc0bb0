"""Pretrained weights from and to Hugging Face BERT folders."""
