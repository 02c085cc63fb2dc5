"""Second floor: y = x @ W.T on packed weights. `reference` is the law; every other path is judged by it."""
