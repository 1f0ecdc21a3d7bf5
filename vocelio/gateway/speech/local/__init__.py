"""Offline speech, for development, the demo and the tests: espeak-ng speaks, pocketsphinx recognises.

Both come with the extra ``vocelio[local]`` and are loaded only when first used. espeak-ng's state is global
to a process, so one thread renders everything; pocketsphinx holds the interpreter's lock while it works, so
it lives in worker processes. This package imports nothing itself, so that a worker starts quickly.
"""
