"""One spec, one function, one result: the experiment, its diagnosis, the verdict on it and what it will cost.

Nothing here knows a store, an executor, a page or pandas: the same spec and content give the same result anywhere.
"""
