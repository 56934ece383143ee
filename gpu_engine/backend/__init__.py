"""Where arrays live: the array protocol, its NumPy reference, and how one backend is chosen per session.

Floor 1: imports errors only. The only package of the engine that names an array library.
"""
