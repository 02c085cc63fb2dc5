"""First floor: codes ⇄ the words that a file or a kernel holds. Nothing here rounds; every function is invertible."""
