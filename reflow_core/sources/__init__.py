"""Names resolved to content: the library, what it may open, what visitors upload, what is downloaded when asked for.

Nothing here prunes, repairs or measures; it hands out networks and images, and remembers what many specs share.
"""
