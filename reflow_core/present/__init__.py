"""What is shown and taken away: figures, reports, code snippets and the lesson, all pure functions of results.

Nothing here runs a network or knows a page, so a change here leaves every stored result valid.
"""
