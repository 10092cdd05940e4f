"""What leaves each layer, and how it is measured without touching the network: layers, copies, trace, moments, probes.

Part of the small core: torch and numpy only, any `nn.Module`. Nothing here prunes, repairs or knows an image set.
"""
