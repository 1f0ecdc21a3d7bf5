"""Offline speech for development, the demo and tests: espeak-ng synthesizes, pocketsphinx recognizes.

Both come with the extra ``vocelio[local]`` and run in worker processes only: they are C libraries that parse
untrusted input, espeak-ng's state is global to a process, and pocketsphinx holds the GIL while it works. This
package itself imports nothing, so that a worker starts quickly.
"""
