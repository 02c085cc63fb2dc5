"""What is freed while a model is loaded, given back."""

import ctypes
from contextlib import suppress


class Memory:
    """Freed memory goes back to the system after every 4 MB of tensors that were done with: glibc would keep it for later,
    and while a model is loaded that adds up to more than the model. Elsewhere nothing happens."""

    def __init__(self):
        self.freed, self.trim = 0, None
        with suppress(OSError, AttributeError, TypeError):
            self.trim = ctypes.CDLL(None).malloc_trim

    def done_with(self, nbytes: int) -> None:
        """So many bytes were freed."""
        self.freed += nbytes
        if self.trim is not None and self.freed > 1 << 22:
            self.freed = 0
            self.trim(0)
