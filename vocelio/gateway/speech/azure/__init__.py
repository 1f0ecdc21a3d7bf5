"""Azure's speech service, through Microsoft's own SDK.

The SDK's calls block, its callbacks come on its own threads, and ending a session can take it ten seconds. So the
modules that import it, ``session`` and ``line``, run on threads of ours only (``threads``), and are themselves
imported there: that takes 0.25 s. ``recognizer`` and ``synthesizer`` live on the event loop and never touch the SDK.
"""
