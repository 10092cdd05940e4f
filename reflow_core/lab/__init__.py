"""Who computes, when, and what is kept: requests, the store, the pool of workers, sweeps and studies.

Nothing here measures a network itself or draws a figure.
"""
