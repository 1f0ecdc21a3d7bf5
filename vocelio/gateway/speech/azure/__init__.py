"""Azure speech recognition and synthesis, with Microsoft's SDK.

The SDK's calls block, its callbacks run on its own threads, and ending a session can take it ten seconds. Therefore the
modules that import it, ``recognition_session`` and ``synthesis_connection``, run only on our threads (``daemon_pool``)
and are imported there, which takes 0.25 s. ``recognizer`` and ``synthesizer`` run on the event loop and never touch the
SDK.
"""
