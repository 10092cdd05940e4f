"""What one sees and takes along: figures, reports, snippets of code and the lesson, all pure functions of results.

Nothing here computes on a network or knows a page; a change here leaves every stored result valid.
"""
