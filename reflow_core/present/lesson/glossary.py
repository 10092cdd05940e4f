"""What the words of the lesson mean, one sentence or two each."""

from __future__ import annotations

GLOSSARY: dict[str, str] = {
    "weight": "A number that the network learned; every connection multiplies by one.",
    "layer": "One stage of the network: it mixes what the stage before it put out.",
    "channel": "One of a layer's outputs: a picture of its own, in which one feature is found or not.",
    "accuracy": "The share of images whose class is answered rightly, on images that training never saw.",
    "interval": "Where the true share lies with 95 % confidence, given that only so many images were counted.",
    "pruning": "Setting weights to zero, to make a network smaller or faster.",
    "sparsity": "The share of the weights that are zero.",
    "magnitude pruning": "Pruning the weights that are nearest to zero: the simplest rule, and hard to beat.",
    "activation": "A number that a layer puts out for an image.",
    "variance": "How much a number differs from image to image: the mean squared distance from its mean. The signal.",
    "deviation": "The square root of the variance, in the units of the number itself.",
    "variance ratio": "A layer's variance after pruning over its variance before, summed over channels. 1: all there.",
    "signal collapse": "The fall of the variance through the layers until every image looks alike at the end.",
    "entropy": "How spread out answers are, in bits: 0 if all are the same, log2 of the number of classes if even.",
    "effective classes": "Two to the entropy: how many classes an evenly answering network would use.",
    "criterion": "The rule that decides which weights go.",
    "BatchNorm": "A layer that subtracts a stored mean and divides by a stored deviation, channel by channel.",
    "stored statistics": "The mean and variance that BatchNorm kept from training; at work it does not look again.",
    "stale": "True once, true no more: stored of a signal that no longer arrives.",
    "calibration images": "A few training images, without labels, shown only to see what arrives where.",
    "REFLOW": "Re-estimating what BatchNorm stored, on the pruned network; known elsewhere as BN tuning.",
    "least squares": "Choosing the surviving weights so that each layer's output comes as near to the old as it can.",
    "floor": "The small constant ε that BatchNorm adds to the variance so as never to divide by zero.",
    "CKA": "Whether images that were alike for the dense layer are alike for this one; 1 if so, whatever the scale.",
    "kernel": "The piece of code that multiplies; the usual one multiplies by zeros as well.",
    "slice": "A part of the images, such as one class, that is looked at by itself.",
    "dense": "Not pruned: the network as it was trained.",
}
