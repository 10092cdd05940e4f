"""What becomes of a network before release: inspections, claims, sensitivity, slices, int8, sparse kernels, export.

Each question is answered by a `Finding`, a sentence with its tables; who asks, and what is kept, is for `lab`.
"""
