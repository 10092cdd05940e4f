"""Images: every source as one `ImageSet`, views as in training, corruptions, and classes matched with a network's.

Nothing here runs a network or decides which images calibrate and which evaluate; that is for `diagnosis`.
"""
