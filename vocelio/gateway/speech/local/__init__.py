"""Offline speech for development, the demo and tests: espeak-ng synthesizes, pocketsphinx recognizes.

Both come with the extra ``vocelio[local]`` and are loaded on first use. espeak-ng's state is global to a process, so
one thread synthesizes everything; pocketsphinx holds the GIL while it works, so it runs in worker processes. This
package itself imports nothing, so that a worker starts quickly.
"""
