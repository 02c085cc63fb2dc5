"""Second floor: foreign files. One file an ecosystem: what its config says, as rules; containers opened without trust."""
