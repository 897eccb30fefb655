"""Pictures as pure functions: bytes in, facts, bytes or a named fault out. No I/O, no framework, nothing of ours.

``pair.check`` is what the intake asks, ``payload.prepare`` what goes to the upstream, ``composite.finish`` what is
stored. All of it is thread-safe: nothing global changes after import but caches.
"""
