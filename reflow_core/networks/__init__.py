"""Networks by name: how each is built, how it saw its images in training, where its weights are, and reading them.

Nothing here knows an image set, a spec or a result; what a name on this machine may open is for `sources` to say.
"""
