"""What the words of the lesson mean, in one or two sentences each."""

from __future__ import annotations

GLOSSARY: dict[str, str] = {
    "weight": "A number that the network learned; each connection multiplies its input by one weight.",
    "layer": "One stage of the network: it combines the outputs of the stage before it.",
    "channel": "One of a layer's outputs: a map of where in the image one feature occurs.",
    "accuracy": "The share of images whose class is predicted correctly, on images not used in training.",
    "interval": "The range in which the true share lies with 95 % confidence, given the number of images counted.",
    "pruning": "Setting weights to zero to make a network smaller or faster.",
    "sparsity": "The share of the weights that are zero.",
    "magnitude pruning": "Pruning the weights nearest to zero, regardless of their role.",
    "activation": "A number that a layer outputs for an image.",
    "variance": (
        "How much a number differs from image to image: the mean squared distance from its mean. In this lesson, the "
        "signal."
    ),
    "standard deviation": "The square root of the variance, in the same units as the number itself.",
    "variance ratio": (
        "A layer's variance after pruning divided by that before, summed over channels; 1 means unchanged."
    ),
    "signal collapse": (
        "A loss of variance from layer to layer (arXiv 2502.15790), until the last layer responds to all images "
        "nearly alike."
    ),
    "entropy": (
        "How evenly predictions are spread, in bits: 0 if all are the same, log2 of the number of classes if even."
    ),
    "effective classes": (
        "Two to the power of the entropy: the number of evenly predicted classes with the same entropy."
    ),
    "criterion": "The rule that decides which weights are removed.",
    "BatchNorm": "A layer that subtracts a stored mean and divides by a stored standard deviation, channel by channel.",
    "stored statistics": "The mean and variance that BatchNorm stored during training; at inference it reuses them.",
    "stale": "Out of date: measured on a signal that the layer no longer receives.",
    "calibration images": "A few unlabeled training images, used only to measure each layer's input.",
    "REFLOW": (
        "Re-estimating BatchNorm's stored statistics on the pruned network; also known as BN tuning (arXiv 2007.02491)."
    ),
    "least squares": (
        "Choosing the remaining weights so that each layer's output is as close as possible to the dense one."
    ),
    "floor": "The small constant ε that BatchNorm adds to the variance so that it never divides by zero.",
    "CKA": "Similarity of two layers at any scale: 1 if images that are similar in one are similar in the other.",
    "kernel": "The code that computes a layer's products; the usual one does not skip zeros.",
    "slice": "A subset of the images, such as one class, that is evaluated separately.",
    "dense": "Not pruned: the network as trained.",
}
