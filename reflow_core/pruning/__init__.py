"""Which weights go, how many of each layer, and what those that are left become: criteria, allocations, updates, masks.

Part of the small core: torch and numpy only, any `nn.Module`. Nothing here measures a signal or repairs it.
"""
