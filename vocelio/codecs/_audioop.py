"""The single import point of ``audioop``, whose C code takes 0.15 us per 20 ms frame (a numpy table: 2.7 us).

Before Python 3.13 it is in the standard library and warns on import; from 3.13 on audioop-lts provides it.
"""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="'audioop' is deprecated", category=DeprecationWarning)
    import audioop

__all__ = ["audioop"]
