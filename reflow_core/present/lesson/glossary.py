"""What the words of the lesson mean, in one or two sentences each."""

from __future__ import annotations

GLOSSARY: dict[str, str] = {
    "weight": "A number that the network learned; every connection multiplies its input by one.",
    "layer": "One stage of the network: it combines the outputs of the stage before it.",
    "channel": "One of a layer's outputs: a picture of where in the image one feature occurs.",
    "accuracy": "The share of images whose class is predicted correctly, on images that training never saw.",
    "interval": "The range in which the true share lies with 95 % confidence, given the number of images counted.",
    "pruning": "Setting weights to zero, in the hope of a smaller or faster network.",
    "sparsity": "The share of the weights that are zero.",
    "magnitude pruning": "Pruning the weights that are nearest to zero, whatever they do.",
    "activation": "A number that a layer outputs for an image.",
    "variance": "How much a number differs from image to image: the mean squared distance from its mean. The signal.",
    "standard deviation": "The square root of the variance, in the units of the number itself.",
    "variance ratio": "A layer's variance after pruning over that before, summed over channels. 1: as much as before.",
    "signal collapse": "A reduction of the variance across the layers (arXiv 2502.15790): at the end, images look "
    "nearly alike.",
    "entropy": "How spread out predictions are, in bits: 0 if all are the same, log2 of the number of classes if even.",
    "effective classes": "Two to the entropy: how many classes, evenly predicted, would give the same entropy.",
    "criterion": "The rule that decides which weights are removed.",
    "BatchNorm": "A layer that subtracts a stored mean and divides by a stored standard deviation, channel by channel.",
    "stored statistics": "The mean and variance that BatchNorm kept from training; in use it does not measure again.",
    "stale": "Once true, no longer true: measured on a signal that no longer arrives.",
    "calibration images": "A few training images, without labels, used only to measure what arrives at each layer.",
    "REFLOW": "Re-estimating what BatchNorm stored, on the pruned network; also known as BN tuning (arXiv 2007.02491).",
    "least squares": "Choosing the surviving weights so that each layer's output is as close as possible to before.",
    "floor": "The small constant ε that BatchNorm adds to the variance so that it never divides by zero.",
    "CKA": "Whether images that are similar in the dense layer are similar in this one, at any scale; 1 if so.",
    "kernel": "The piece of code that multiplies; the usual one does not look whether a number is zero.",
    "slice": "A part of the images, such as one class, that is examined by itself.",
    "dense": "Not pruned: the network as it was trained.",
}
