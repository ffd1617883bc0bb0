"""Which attention is cheap enough and good enough for your text classification?"""
